-- The day and the 500 trading days before it: what each stock closed at, its move, its volatility proxy (a year), and
-- the volatility that today's model forecasts, or would have forecast then, for the day after (a day).
SELECT symbol, made_on, ago, close, log_return, proxy, volatility AS forecast
FROM scores
