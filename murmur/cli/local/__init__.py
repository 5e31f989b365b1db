"""Commands that run or look after a platform on this machine."""
