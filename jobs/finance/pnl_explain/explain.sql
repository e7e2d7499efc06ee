-- From the value of the book at the close before to today's, in US dollars: what each greek explains, what came and
-- went, and what is left. By desk and stock; symbol 'all' is all stocks, desk 'firm' all desks.
--
--   opening      the value of the book of the trading day before, at that close
--   delta        the stock's move times delta             gamma  half its square times gamma
--   vega         the volatility's move times vega         volga  half its square times volga
--   vanna        both moves times vanna                   rho    the rate's move times rho
--   theta        the time that has passed times theta
--   unexplained  what else the same positions made
--   new          bought (sold < 0) today, at today's close
--   closed       left the book at today's close
--   expired      left it at their payoff
--   closing      the value of today's book
--
-- All before it add up to the closing value to the cent: money is rounded position by position. Greeks are those of
-- the close before (Taylor's expansion; Hull, Options, Futures, and Other Derivatives, 2018, chapter 19).
--
-- * actual_pnl is what the positions made, from delta to unexplained: trades are made at the day's close, so what is
--   new makes nothing yet. hypothetical_pnl is what they would have made by prices and volatilities alone, time and rate
--   standing still, to the cent as market_risk has it; risk_theoretical_pnl is what the greeks by price and volatility
--   explain of that (MAR32 of the Basel framework has all three).
-- * gross is the sum of the absolute values of the positions before.
WITH
before AS (SELECT * FROM scores WHERE state = 'before'),
moved AS (SELECT * FROM scores WHERE state = 'moved'),
at_close AS (SELECT * FROM scores WHERE state = 'close'),
shares AS (  -- US dollars a share
    SELECT
        position_id, at_close.is_held,
        at_close.price AS price, before.price AS opening,
        before.delta * (at_close.spot - before.spot) AS delta,
        before.gamma * (at_close.spot - before.spot) ** 2 / 2 AS gamma,
        before.vega * (at_close.volatility - before.volatility) AS vega,
        before.theta * (before.years - at_close.years) AS theta,
        before.rho * (at_close.rate - before.rate) AS rho,
        before.vanna * (at_close.spot - before.spot) * (at_close.volatility - before.volatility) AS vanna,
        before.volga * (at_close.volatility - before.volatility) ** 2 / 2 AS volga,
        moved.price - before.price AS hypothetical,
        before.delta * (moved.spot - before.spot)
        + before.gamma * (moved.spot - before.spot) ** 2 / 2
        + before.vega * (moved.volatility - before.volatility)
        + before.vanna * (moved.spot - before.spot) * (moved.volatility - before.volatility)
        + before.volga * (moved.volatility - before.volatility) ** 2 / 2 AS risk_theoretical
    FROM at_close
    LEFT JOIN before USING (position_id)
    LEFT JOIN moved USING (position_id)
),
money AS (
    SELECT
        desk, symbol, is_held, coalesce(expiry <= getvariable('day'), false) AS is_expired,
        opening IS NOT NULL AS was_held,
        CAST(round(quantity * price, 2) AS DECIMAL(18, 2)) AS worth,
        CAST(coalesce(round(quantity * opening, 2), 0) AS DECIMAL(18, 2)) AS opening,
        CAST(coalesce(round(quantity * delta, 2), 0) AS DECIMAL(18, 2)) AS delta,
        CAST(coalesce(round(quantity * gamma, 2), 0) AS DECIMAL(18, 2)) AS gamma,
        CAST(coalesce(round(quantity * vega, 2), 0) AS DECIMAL(18, 2)) AS vega,
        CAST(coalesce(round(quantity * vanna, 2), 0) AS DECIMAL(18, 2)) AS vanna,
        CAST(coalesce(round(quantity * volga, 2), 0) AS DECIMAL(18, 2)) AS volga,
        CAST(coalesce(round(quantity * theta, 2), 0) AS DECIMAL(18, 2)) AS theta,
        CAST(coalesce(round(quantity * rho, 2), 0) AS DECIMAL(18, 2)) AS rho,
        CAST(coalesce(round(quantity * hypothetical, 2), 0) AS DECIMAL(18, 2)) AS hypothetical,
        CAST(coalesce(round(quantity * risk_theoretical, 2), 0) AS DECIMAL(18, 2)) AS risk_theoretical
    FROM shares
    JOIN (SELECT position_id, desk, symbol, quantity, expiry FROM trades WHERE action = 'open') AS opened
        USING (position_id)
),
lines AS (
    SELECT
        *,
        CASE WHEN was_held THEN worth - opening ELSE 0 END AS made,
        CASE WHEN was_held THEN 0 ELSE worth END AS new,
        CASE WHEN is_held OR is_expired THEN 0 ELSE -worth END AS closed,
        CASE WHEN is_expired THEN -worth ELSE 0 END AS expired,
        CASE WHEN is_held THEN worth ELSE 0 END AS closing
    FROM money
)
SELECT
    CASE WHEN grouping(desk) = 1 THEN 'firm' ELSE desk END AS desk,
    CASE WHEN grouping(symbol) = 1 THEN 'all' ELSE symbol END AS symbol,
    CAST(count(*) FILTER (was_held) AS INTEGER) AS positions_before,
    CAST(count(*) FILTER (is_held) AS INTEGER) AS positions,
    CAST(sum(opening) AS DECIMAL(18, 2)) AS opening,
    CAST(sum(delta) AS DECIMAL(18, 2)) AS delta,
    CAST(sum(gamma) AS DECIMAL(18, 2)) AS gamma,
    CAST(sum(vega) AS DECIMAL(18, 2)) AS vega,
    CAST(sum(vanna) AS DECIMAL(18, 2)) AS vanna,
    CAST(sum(volga) AS DECIMAL(18, 2)) AS volga,
    CAST(sum(theta) AS DECIMAL(18, 2)) AS theta,
    CAST(sum(rho) AS DECIMAL(18, 2)) AS rho,
    CAST(sum(made - delta - gamma - vega - vanna - volga - theta - rho) AS DECIMAL(18, 2)) AS unexplained,
    CAST(sum(new) AS DECIMAL(18, 2)) AS new,
    CAST(sum(closed) AS DECIMAL(18, 2)) AS closed,
    CAST(sum(expired) AS DECIMAL(18, 2)) AS expired,
    CAST(sum(closing) AS DECIMAL(18, 2)) AS closing,
    CAST(sum(made) AS DECIMAL(18, 2)) AS actual_pnl,
    CAST(sum(hypothetical) AS DECIMAL(18, 2)) AS hypothetical_pnl,
    CAST(sum(risk_theoretical) AS DECIMAL(18, 2)) AS risk_theoretical_pnl,
    CAST(sum(abs(opening)) AS DECIMAL(18, 2)) AS gross
FROM lines
GROUP BY GROUPING SETS ((desk, symbol), (desk), ())
HAVING count(*) > 0
