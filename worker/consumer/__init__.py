"""What Celery and its operators see of this worker: hints in, tasks and their results shown, remote control."""
