-- Macros that hold scores to the labels that came: what a model was worth, by day. docs/outcomes.md shows them at work.
--
-- A label is 0 or 1 (or a boolean), of a forecast a number; NULL is a label that nobody knows yet: its row counts in
-- nothing. What can't be measured is NULL, and unmeasured() says why. A labelled row without a finite score, a chance
-- outside 0 to 1 or another label stops the run, by a cast of its message. Whole numbers and decimals are added up, or
-- floats in their own order: the same rows give the same bits in whatever order they come.

-- A number of a small range as a decimal, whose sum is exact: at most 5e-19 away, far below what a DOUBLE tells apart.
CREATE MACRO to_18_places(number) AS
    CAST(number AS DECIMAL(38, 18));

-- A label as 0 or 1.
CREATE MACRO label_01(label) AS
    CASE
        WHEN TRY_CAST(label AS DOUBLE) IN (0, 1) THEN CAST(CAST(label AS DOUBLE) AS INTEGER)
        WHEN label IS NOT NULL AND CAST(concat('a label is ', CAST(label AS VARCHAR), '; allowed: 0, 1, and NULL for one that is not known yet') AS BOOLEAN)
        THEN NULL
    END;

-- The label of a score; NULL of one that was told before the day of its score, which the score may have known: it is
-- no outcome. Count those apart: told_on < scored_on.
CREATE MACRO label_told(label, told_on, scored_on) AS
    CASE
        WHEN CAST(told_on AS DATE) >= CAST(scored_on AS DATE) THEN label
        WHEN label IS NOT NULL AND (told_on IS NULL OR scored_on IS NULL) AND CAST(concat(
            'a label of a score of ', coalesce(CAST(scored_on AS VARCHAR), 'NULL'), ' was told on ',
            coalesce(CAST(told_on AS VARCHAR), 'NULL'), '; allowed: days'
        ) AS BOOLEAN)
        THEN NULL
    END;

-- The score of a row that has a label; NULL where it has none.
CREATE MACRO labelled_score(score, label) AS
    CASE
        WHEN label IS NULL THEN NULL
        WHEN isfinite(TRY_CAST(score AS DOUBLE)) THEN CAST(score AS DOUBLE)
        WHEN CAST(concat('a row with a label has the score ', coalesce(CAST(score AS VARCHAR), 'NULL'), '; allowed: a finite number') AS BOOLEAN)
        THEN NULL
    END;

-- The same of a chance.
CREATE MACRO labelled_chance(score, label) AS
    CASE
        WHEN labelled_score(score, label) BETWEEN 0 AND 1 THEN CAST(score AS DOUBLE)
        WHEN label IS NOT NULL AND CAST(concat('a row with a label has the chance ', score, '; allowed: 0 to 1') AS BOOLEAN)
        THEN NULL
    END;

-- Where a labelled row stands in its group, from the highest score down; those that tie stand together. first: the
-- place of the first that has its score; last: of the last; hits: labels of 1 down to there; of: labelled rows in all.
CREATE MACRO score_place(grp, score, label) AS
    CASE
        WHEN label IS NOT NULL
        THEN struct_pack(
            first := rank() OVER (PARTITION BY grp, label IS NULL ORDER BY labelled_score(score, label) DESC),
            last := count(*) OVER (PARTITION BY grp, label IS NULL ORDER BY labelled_score(score, label) DESC),
            hits := CAST(sum(label_01(label)) OVER (  -- count(*) FILTER takes a hundred times as long
                PARTITION BY grp, label IS NULL ORDER BY labelled_score(score, label) DESC
            ) AS BIGINT),
            of := count(*) OVER (PARTITION BY grp, label IS NULL)
        )
    END;

-- An aggregate: true where places are of these rows, all of them and no others, and of this label. Else the run stops:
-- by places of another group an AUC is a number as any, and wrong. A label of 1 is a hit of every row from its first down.
CREATE MACRO places_are_of(label, place) AS
    CASE
        WHEN count(label) = 0 AND count(place.of) = 0 THEN true
        WHEN min(place.of) = count(label) AND max(place.of) = count(label)
            AND sum(place.first + place.last) = count(label) * (count(label) + 1)
            AND sum(place.hits) = coalesce(sum(place.of + 1 - place.first) FILTER (label_01(label) = 1), 0)
        THEN true
        ELSE CAST(concat(
            count(label), ' rows with a label are measured by places among ', coalesce(max(place.of), 0),
            '; allowed: score_place(grp, score, label) of the same label, with grp as in GROUP BY, and no WHERE or join after it'
        ) AS BOOLEAN)
    END;

-- An aggregate: the area under the ROC curve, as the chance that a 1 stands above a 0, a tie for a half (Mann and
-- Whitney 1947; Hanley and McNeil 1982).
CREATE MACRO auc(label, place) AS
    CASE
        WHEN places_are_of(label, place)
        THEN CAST(
            2 * count(*) FILTER (label_01(label) = 1) * (count(label) + 1)
            - coalesce(sum(place.first + place.last) FILTER (label_01(label) = 1), 0)
            - count(*) FILTER (label_01(label) = 1) * (count(*) FILTER (label_01(label) = 1) + 1)
            AS DOUBLE
        ) / nullif(2 * count(*) FILTER (label_01(label) = 1) * count(*) FILTER (label_01(label) = 0), 0)
    END;

-- An aggregate: the precision down to each 1, on average, not interpolated (Manning, Raghavan and Schütze 2008, 8.4).
CREATE MACRO average_precision(label, place) AS
    CASE WHEN places_are_of(label, place) THEN avg(to_18_places(place.hits / place.last)) FILTER (label_01(label) = 1) END;

-- An aggregate: the mean squared difference of chance and label (Brier 1950).
CREATE MACRO brier_score(score, label) AS
    avg(to_18_places(pow(labelled_chance(score, label) - label_01(label), 2)));

-- The chance that was given to what came true.
CREATE MACRO chance_of_truth(score, label) AS
    CASE WHEN label_01(label) = 1 THEN labelled_chance(score, label) ELSE 1 - labelled_chance(score, label) END;

-- An aggregate: minus the mean natural logarithm of that (Good 1952). NULL where something came true that was given
-- no chance at all: it is infinite.
CREATE MACRO log_loss(score, label) AS
    CASE
        WHEN min(chance_of_truth(score, label)) > 0
        THEN avg(to_18_places(-ln(nullif(chance_of_truth(score, label), 0))))  -- of a decimal: no -0.0
    END;

-- The bin of a chance, 1 to 10, each as wide: (0, 0.1], (0.1, 0.2], …; 0 is in the first. NULL of what is no chance.
CREATE MACRO chance_bin(score) AS
    CASE
        WHEN CAST(score AS DOUBLE) BETWEEN 0 AND 1
        THEN CAST(greatest(1, ceil(10 * CAST(score AS DOUBLE))) AS INTEGER)
    END;

-- The tenth of a group by score, 1 (the highest) to 10; those that tie stand together.
CREATE MACRO score_tenth(place) AS
    CAST(1 + 10 * (place.first - 1) // place.of AS INTEGER);

-- How far labels add up to more or less than chances in one bin.
CREATE MACRO gap_in(score, label, bin, number) AS
    CAST(coalesce(abs(sum(to_18_places(labelled_chance(score, label)) - label_01(label)) FILTER (bin = number)), 0) AS DOUBLE);

-- An aggregate: the expected calibration error over ten bins, by chance_bin or score_tenth: how far mean chance and
-- share of 1 are apart in a bin, on average over the rows (Naeini, Cooper and Hauskrecht 2015).
CREATE MACRO calibration_error(score, label, bin) AS
    CASE
        WHEN count(*) FILTER (label IS NOT NULL AND bin IN (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)) = count(label)
        THEN (
            gap_in(score, label, bin, 1) + gap_in(score, label, bin, 2) + gap_in(score, label, bin, 3)
            + gap_in(score, label, bin, 4) + gap_in(score, label, bin, 5) + gap_in(score, label, bin, 6)
            + gap_in(score, label, bin, 7) + gap_in(score, label, bin, 8) + gap_in(score, label, bin, 9)
            + gap_in(score, label, bin, 10)
        ) / nullif(count(label), 0)
        WHEN CAST('calibration_error: a row with a label has no bin, a whole number of 1 to 10: give chance_bin(score) or score_tenth(place)' AS BOOLEAN)
        THEN NULL
    END;

-- Of a forecast: score less label.
CREATE MACRO error_of(score, label) AS
    CASE
        WHEN isfinite(TRY_CAST(label AS DOUBLE)) THEN labelled_score(score, label) - CAST(label AS DOUBLE)
        WHEN label IS NOT NULL AND CAST(concat('a label is ', CAST(label AS VARCHAR), '; allowed: a finite number, and NULL for one that is not known yet') AS BOOLEAN)
        THEN NULL
    END;

-- Aggregates: the mean of that (the bias), of its size, and the root of the mean of its square.
CREATE MACRO mean_error(score, label) AS
    avg(error_of(score, label) ORDER BY error_of(score, label));

CREATE MACRO mean_absolute_error(score, label) AS
    avg(abs(error_of(score, label)) ORDER BY abs(error_of(score, label)));

CREATE MACRO root_mean_squared_error(score, label) AS
    sqrt(avg(pow(error_of(score, label), 2) ORDER BY pow(error_of(score, label), 2)));

-- An aggregate: why there is no AUC; NULL where there is one.
CREATE MACRO unmeasured(label) AS
    CASE
        WHEN count(label) = 0 THEN 'no label yet'
        WHEN min(label_01(label)) = max(label_01(label)) THEN concat('every label is ', min(label_01(label)))
    END;
