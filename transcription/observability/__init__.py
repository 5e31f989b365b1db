"""How a process shows what it does: logs, traces, process metrics."""
