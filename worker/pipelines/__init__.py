"""The ways of a span: one that transcribes it, one that hears who speaks; both on the same decoded sound."""
