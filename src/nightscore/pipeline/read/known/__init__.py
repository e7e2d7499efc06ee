"""Which of an input's rows were there then: as of a moment, as published, as reported, since a day."""
