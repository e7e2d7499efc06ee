-- Everybody who has ever said so: in the newest list of this job's own, or in a file since.
--
-- A household keeps its first day, and the reason of that day; of several on one day the first by alphabet.
-- Files are read as far back as they are there, so that a first night knows the year; what the list once
-- had stays, whether its file is there still or not.
WITH told AS (
    SELECT household_id, since, reason
    FROM before
    WHERE day = (SELECT max(day) FROM before)
    UNION
    SELECT household_id, day AS since, reason
    FROM unsubscribes
)

SELECT household_id, since, reason
FROM told
QUALIFY 1 = row_number() OVER (PARTITION BY household_id ORDER BY since, reason)
