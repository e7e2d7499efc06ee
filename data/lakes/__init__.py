"""Real data to try nightscore on: each module writes one public data set as a lake of Parquet files."""
