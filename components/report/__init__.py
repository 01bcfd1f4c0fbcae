"""Write the run's report: a page for people and a summary for programs."""
