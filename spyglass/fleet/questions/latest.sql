-- The last snapshot of each process, unless it is older by more than :fresh_s seconds than the last one of its service.
SELECT service, instance, snapshot_id
FROM (
    SELECT service, instance, max_by(snapshot_id, taken_s) AS snapshot_id, max(taken_s) AS last_s,
           max(max(taken_s)) OVER (PARTITION BY service) AS service_last_s
    FROM processes
    GROUP BY service, instance
) AS ends
WHERE last_s >= service_last_s - :fresh_s
