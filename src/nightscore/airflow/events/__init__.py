"""What a night tells others: asset events, lineage, metrics, deadlines, how its run goes."""
