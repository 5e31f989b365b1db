"""What happens to a job on the API's side: submission, backpressure, models, hints, notifications."""
