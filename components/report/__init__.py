"""Write the run's report: one page for people, one summary for programs."""
