-- The forecast for the next trading day: the standard deviation of the log return, and its 1 % and 5 % quantiles.
SELECT symbol, volatility, quantile_1, quantile_5
FROM scores
WHERE ago = 0
