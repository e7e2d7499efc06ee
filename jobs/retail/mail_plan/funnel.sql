-- Who of the audience gets no mail tonight, one line each, and the first reason; the others are in mail_list.
SELECT household_id, coalesce(reason, 'fewer than four blocks') AS reason
FROM scores
ANTI JOIN mail_list USING (household_id)
