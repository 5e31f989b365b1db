"""What somebody must do now and then for the whole platform: every API process and every worker can."""
