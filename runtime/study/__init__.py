"""A cohort through two parties: its list, its journal, the runs, the statistics and the report."""
