-- Every transaction of the day, by transaction_id: about 140,000 rows.
--
-- first_id is the first of those that are alike in all that is known of them (second, amount, all components): they are
-- one alert. The model's columns are FLOAT, as it computes; charged is the amount as it was charged, to the cent.
SELECT
    transaction_id,
    transaction_time,
    amount AS charged,
    min(transaction_id) OVER (
        PARTITION BY
            transaction_time, amount,
                v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14,
                v15, v16, v17, v18, v19, v20, v21, v22, v23, v24, v25, v26, v27, v28
    ) AS first_id,
    CAST(v1 AS FLOAT) AS v1, CAST(v2 AS FLOAT) AS v2, CAST(v3 AS FLOAT) AS v3, CAST(v4 AS FLOAT) AS v4,
    CAST(v5 AS FLOAT) AS v5, CAST(v6 AS FLOAT) AS v6, CAST(v7 AS FLOAT) AS v7, CAST(v8 AS FLOAT) AS v8,
    CAST(v9 AS FLOAT) AS v9, CAST(v10 AS FLOAT) AS v10, CAST(v11 AS FLOAT) AS v11, CAST(v12 AS FLOAT) AS v12,
    CAST(v13 AS FLOAT) AS v13, CAST(v14 AS FLOAT) AS v14, CAST(v15 AS FLOAT) AS v15, CAST(v16 AS FLOAT) AS v16,
    CAST(v17 AS FLOAT) AS v17, CAST(v18 AS FLOAT) AS v18, CAST(v19 AS FLOAT) AS v19, CAST(v20 AS FLOAT) AS v20,
    CAST(v21 AS FLOAT) AS v21, CAST(v22 AS FLOAT) AS v22, CAST(v23 AS FLOAT) AS v23, CAST(v24 AS FLOAT) AS v24,
    CAST(v25 AS FLOAT) AS v25, CAST(v26 AS FLOAT) AS v26, CAST(v27 AS FLOAT) AS v27, CAST(v28 AS FLOAT) AS v28,
    CAST(amount AS FLOAT) AS amount
FROM transactions
WHERE day = getvariable('day')
