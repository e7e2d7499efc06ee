"""Days, sessions and times of day: calendars, schedules, deadlines."""
