"""Cases of a job: a few rows through its SQL, its model and its audits, held to what a person expects."""
