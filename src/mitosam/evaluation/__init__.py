"""Arrays in, numbers out: scores, their rivals, their intervals and their summaries."""
