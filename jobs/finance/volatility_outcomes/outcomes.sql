-- The returns of the day beside what was forecast for them the trading day before.
SELECT
    symbol, forecast_on, realised_on, log_return, volatility, quantile_1, quantile_5,
    log_return < quantile_1 AS is_below_1,
    log_return < quantile_5 AS is_below_5,
    pit, loss_1, loss_5, usual_loss_1, usual_loss_5
FROM scores
WHERE realised_on = getvariable('day')
