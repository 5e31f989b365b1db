"""Where bytes lie: recordings on a disk or in a bucket, and models."""
