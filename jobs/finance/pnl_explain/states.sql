-- Every position of the last two closes, in the states of the market that its profit or loss is explained from.
--
-- One row per (position_id, state):
--
--   before   what was held at the close of the trading day before, at that close: its greeks explain the day
--   moved    the same at today's prices and volatilities; time and rate stand still, as in market_risk
--   close    what was held at either close, at today's. What was closed today left at this price; an option that
--            has expired is worth its payoff, by the last close up to its expiry, which need not be a trading day
--   spot+ …  of every twentieth option, the state before with one number moved a little, to hold its greeks to
--
-- A share goes through the same model: it is the call that is struck at nothing. A rate holds from its day on.
WITH
sessions AS (  -- 0 is today, 1 the trading day before
    SELECT ago, made_on, arg_max(rate, since) AS rate
    FROM (SELECT DISTINCT ago, made_on FROM history WHERE ago <= 1) AS closes
    JOIN rates ON since <= made_on
    GROUP BY ago, made_on
),
markets AS (
    SELECT ago, symbol, close AS spot, proxy AS volatility
    FROM history
    WHERE ago <= 1
),
positions AS (
    SELECT
        position_id, symbol, kind, expiry, coalesce(CAST(strike AS DOUBLE), 0) AS strike,
        opening.day <= before.made_on AND coalesce(expiry > before.made_on, true) AS was_held,
        closing.day IS NULL AND coalesce(expiry > getvariable('day'), true) AS is_held
    FROM trades AS opening
    LEFT JOIN (SELECT position_id, day FROM trades WHERE action = 'close') AS closing USING (position_id)
    CROSS JOIN (SELECT made_on FROM sessions WHERE ago = 1) AS before
    WHERE opening.action = 'open' AND coalesce(closing.day > before.made_on, true)
),
states AS (  -- by which close, and whose time and rate
    SELECT position_id, 'before' AS state, 1 AS ago, 1 AS timed
    FROM positions
    WHERE was_held
    UNION ALL
    SELECT position_id, 'moved', 0, 1
    FROM positions
    WHERE was_held
    UNION ALL
    SELECT position_id, 'close', CASE WHEN expiry < getvariable('day') THEN 1 ELSE 0 END, 0
    FROM positions
    WHERE was_held OR is_held
),
marked AS (
    SELECT
        position_id, state, is_held, kind, spot, strike, rate, volatility,
        CAST(coalesce(greatest(expiry - made_on, 0), 0) AS DOUBLE) / 365 AS years
    FROM states
    JOIN positions USING (position_id)
    JOIN markets ON markets.ago = states.ago AND markets.symbol = positions.symbol
    JOIN sessions ON sessions.ago = timed
),
bumps (state, spot_by, volatility_by, years_by, rate_by) AS (
    VALUES
    ('spot+', 1.0001, 1, 1, 0), ('spot-', 0.9999, 1, 1, 0),
    ('volatility+', 1, 1.0001, 1, 0), ('volatility-', 1, 0.9999, 1, 0),
    ('years+', 1, 1, 1.0001, 0), ('years-', 1, 1, 0.9999, 0),
    ('rate+', 1, 1, 1, 0.0001), ('rate-', 1, 1, 1, -0.0001)
),
bumped AS (
    SELECT
        position_id, bumps.state, is_held, kind, spot * spot_by AS spot, strike, rate + rate_by AS rate,
        volatility * volatility_by AS volatility, years * years_by AS years
    FROM marked
    CROSS JOIN bumps
    WHERE marked.state = 'before' AND kind <> 'stock' AND md5_number(concat_ws('|', position_id, 'bump')) % 20 = 0
)
SELECT
    position_id, state, is_held, spot, strike, rate, years, volatility,
    CASE kind WHEN 'put' THEN -1::DOUBLE ELSE 1::DOUBLE END AS right
FROM (SELECT * FROM marked UNION ALL BY NAME SELECT * FROM bumped)
