-- Macros for decisions under rules: what every list of who gets what needs, once. docs/rules.md shows each at work.
--
-- Each has one value for the same rows in whatever order they come: a rank ends in a key, chance is the md5 of a
-- text (which is the same in every version of every engine: an upgrade reshuffles nobody), costs are added as
-- decimals. What stops a run does so by a cast of its message: beside `error()` no column may be named by another. A key is a whole number, a text or a date, or several as one text: concat_ws('|', a, b).

-- A key as the text that draws go by. 7 and 7.0 are two texts: a lake that turns whole numbers into DOUBLE would draw anew.
CREATE MACRO draw_text(key) AS
    CASE
        WHEN NOT regexp_matches(typeof(key), '^(FLOAT|DOUBLE|TIME|DECIMAL\(\d+,[1-9])') THEN CAST(key AS VARCHAR)
        WHEN CAST(concat('a draw by ', key, ', a ', typeof(key), '; allowed: a whole number, a text or a day') AS BOOLEAN)
        THEN NULL
    END;

-- The point of a text between 0 and 1 (1 excluded): the lowest 53 bits of its md5 as a number.
CREATE MACRO hash_point(text) AS
    CAST(md5_number(draw_text(text)) % 9007199254740992 AS DOUBLE) / 9007199254740992;

-- Whether a key is in the share (0 to 1) that is held out for a season, such as '2026Q4': the same keys all season.
CREATE MACRO in_hold_out(key, season, share) AS
    CASE
        WHEN share BETWEEN 0 AND 1 THEN hash_point('hold out|' || season || '|' || draw_text(key)) < share
        WHEN share IS NOT NULL
            AND CAST(concat('in_hold_out: the share is ', share, '; allowed: 0 to 1') AS BOOLEAN)
        THEN NULL
    END;

-- Whether it is a key's turn on a day: on one day in `every`, always the same one of the cycle.
CREATE MACRO in_rotation(key, day, every) AS
    CASE  -- as UHUGEINT, for beside an INTEGER DuckDB takes both for DOUBLE, and loses all but 53 of the md5's 128 bits
        WHEN every >= 1 AND every % 1 = 0
        THEN md5_number('rotation|' || draw_text(key)) % CAST(every AS UHUGEINT)
            = CAST(datediff('day', DATE '0001-01-01', day) AS UHUGEINT) % CAST(every AS UHUGEINT)
        WHEN every IS NOT NULL
            AND CAST(concat('in_rotation: every is ', every, '; allowed: a whole number of days, 1 or more') AS BOOLEAN)
        THEN NULL
    END;

-- Whether a rule holds on a day: from `since` until `until`, both included; without an end where that is NULL.
CREATE MACRO holds_on(since, until, day) AS
    since <= day AND (until IS NULL OR until >= day);

-- A row's number in an order in which no two rows are alike: where two are, which comes first would be chance.
CREATE MACRO untied(number, rank, key) AS
    CASE
        WHEN number = rank THEN number
        WHEN CAST(concat('two rows have the key ', key, ' and one score, so that which comes first is chance: give a key that tells rows apart') AS BOOLEAN)
        THEN NULL
    END;

-- 1, 2, 3, … from the highest score down, ties by key; what is NULL or NaN comes last.
CREATE MACRO rank_all(score, key) AS
    untied(
        row_number() OVER (ORDER BY isnan(CAST(score AS DOUBLE)), score DESC NULLS LAST, key),
        rank() OVER (ORDER BY isnan(CAST(score AS DOUBLE)), score DESC NULLS LAST, key),
        key
    );

-- The same within each group.
CREATE MACRO rank_within(grp, score, key) AS
    untied(
        row_number() OVER (PARTITION BY grp ORDER BY isnan(CAST(score AS DOUBLE)), score DESC NULLS LAST, key),
        rank() OVER (PARTITION BY grp ORDER BY isnan(CAST(score AS DOUBLE)), score DESC NULLS LAST, key),
        key
    );

-- Whether a row is among the best `cap` of its group, which may be several columns: (household_id, category).
CREATE MACRO within_cap(grp, score, key, cap) AS
    rank_within(grp, score, key) <= cap;

-- The slot of a row among its owner's: first those of the lowest `turn`, of one turn by score, ties by key.
CREATE MACRO slot_in(owner, turn, score, key) AS
    untied(
        row_number() OVER (
            PARTITION BY owner ORDER BY turn, isnan(CAST(score AS DOUBLE)), score DESC NULLS LAST, key
        ),
        rank() OVER (PARTITION BY owner ORDER BY turn, isnan(CAST(score AS DOUBLE)), score DESC NULLS LAST, key),
        key
    );

-- An aggregate: how many of some days lie within the last `days` days before a day (it is not counted itself).
CREATE MACRO sends_within(sent, day, days) AS
    count(*) FILTER (WHERE sent >= day - days AND sent < day);

-- What a row and all that come before it cost, from the highest score down, ties by key: a DECIMAL, 6 places, rounded up.
CREATE MACRO running_cost(cost, score, key) AS
    CASE
        WHEN rank_all(score, key) > 0
        THEN sum(CAST(
            CASE
                WHEN cost >= 0 AND CAST(cost AS DOUBLE) < 1e15
                THEN CAST(cost AS DECIMAL(24, 6))
                    + CASE WHEN CAST(cost AS DECIMAL(24, 6)) < cost THEN 0.000001 ELSE 0 END
                WHEN CAST(concat('the cost of ', key, ' is ', coalesce(CAST(cost AS VARCHAR), 'NULL'), '; allowed: 0 or more, and less than 1e15') AS BOOLEAN)
                THEN NULL
            END AS DECIMAL(24, 6)
        )) OVER (
            ORDER BY isnan(CAST(score AS DOUBLE)), score DESC NULLS LAST, key ROWS UNBOUNDED PRECEDING
        )
    END;

-- Whether a row is paid for: taken from the highest score down until the next one would cost more than is left.
CREATE MACRO within_budget(cost, score, key, budget) AS
    CASE
        WHEN NOT isnan(CAST(budget AS DOUBLE)) THEN running_cost(cost, score, key) <= budget
        WHEN budget IS NOT NULL AND CAST('within_budget: the budget is nan; allowed: a number' AS BOOLEAN) THEN NULL
    END;

-- Why a row is in a queue of `capacity`, by its place (rank_all, in a SELECT before): 'score', or 'chance' for
-- the `drawn` of the rest that a seed, such as the day, draws, so that labels stay unbiased; NULL: it is not.
CREATE MACRO queue_of(place, key, seed, capacity, drawn) AS
    CASE
        WHEN NOT coalesce(place >= 1 AND drawn BETWEEN 0 AND capacity AND draw_text(seed) <> '' AND draw_text(key) <> '', false)
            AND CAST(concat(
                'queue_of: place ', coalesce(CAST(place AS VARCHAR), 'NULL'), ', key ', coalesce(CAST(key AS VARCHAR), 'NULL'),
                ', seed ', coalesce(CAST(seed AS VARCHAR), 'NULL'), ', capacity ', coalesce(CAST(capacity AS VARCHAR), 'NULL'),
                ', drawn ', coalesce(CAST(drawn AS VARCHAR), 'NULL'),
                '; allowed: a place from 1 on, a key, a seed, and drawn from 0 to capacity'
            ) AS BOOLEAN)
        THEN NULL
        WHEN place <= capacity - drawn THEN 'score'
        WHEN untied(
            row_number() OVER (
                PARTITION BY place <= capacity - drawn ORDER BY md5_number('queue|' || seed || '|' || key), key
            ),
            rank() OVER (
                PARTITION BY place <= capacity - drawn ORDER BY md5_number('queue|' || seed || '|' || key), key
            ),
            key
        ) <= drawn THEN 'chance'
    END;

-- With which probability a row is in that queue: 1 by score, else the share of the rest that is drawn.
CREATE MACRO queue_share(place, capacity, drawn) AS
    CASE
        WHEN place <= capacity - drawn THEN 1.0
        ELSE least(1.0, drawn / (count(*) FILTER (WHERE place > capacity - drawn) OVER ()))
    END;

-- The first reason that is true, of MAP {'suppressed': …, 'held out': …}; NULL where none is: the row goes through.
-- A number counts as true where it is not 0, as a condition does.
CREATE MACRO first_reason(reasons) AS
    CASE
        WHEN list_count(map_values(reasons)) = cardinality(reasons)
        THEN map_keys(reasons)[list_position(CAST(map_values(reasons) AS BOOLEAN[]), true)]
        WHEN CAST(concat('first_reason: ', CAST(reasons AS VARCHAR), ' has a NULL; allowed: true and false') AS BOOLEAN)
        THEN NULL
    END;

-- A text that stands in HTML as it is.
CREATE MACRO html_text(text) AS
    replace(replace(replace(replace(replace(
        CAST(text AS VARCHAR), '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;');
