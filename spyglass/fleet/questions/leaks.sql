-- Places where goroutines may leak: their number grows in a process from each third of its snapshots to the next, by
-- :min_growth or more; or :min_blocked of one process wait there; or nothing can wake them.
WITH span AS (
    SELECT service, instance, min(taken_s) AS first_s, max(taken_s) AS last_s
    FROM processes
    GROUP BY service, instance
),
looks AS (
    SELECT p.service, p.instance, first_s, last_s,
           count(CASE WHEN 3 * (taken_s - first_s) < last_s - first_s THEN 1 END) AS looks_1,
           count(CASE WHEN 3 * (taken_s - first_s) >= last_s - first_s
                       AND 3 * (taken_s - first_s) < 2 * (last_s - first_s) THEN 1 END) AS looks_2,
           count(CASE WHEN 3 * (taken_s - first_s) >= 2 * (last_s - first_s) THEN 1 END) AS looks_3
    FROM processes AS p
    JOIN span AS s ON s.service = p.service AND s.instance = p.instance
    GROUP BY p.service, p.instance, first_s, last_s
),
places AS (
    SELECT g.service, g.instance, state, function, file, line, creator_function, first_s, last_s,
           sum(CASE WHEN 3 * (taken_s - first_s) < last_s - first_s THEN count ELSE 0 END)
               / nullif(looks_1, 0) AS mean_1,
           sum(CASE WHEN 3 * (taken_s - first_s) >= last_s - first_s
                     AND 3 * (taken_s - first_s) < 2 * (last_s - first_s) THEN count ELSE 0 END)
               / nullif(looks_2, 0) AS mean_2,
           sum(CASE WHEN 3 * (taken_s - first_s) >= 2 * (last_s - first_s) THEN count ELSE 0 END)
               / nullif(looks_3, 0) AS mean_3,
           sum(CASE WHEN taken_s = last_s THEN count ELSE 0 END) AS now,
           sum(CASE WHEN taken_s = last_s THEN stuck END) AS stuck_now,
           max(CASE WHEN taken_s = last_s THEN longest_wait_ns END) AS wait_now_ns
    FROM groups AS g
    JOIN looks AS l ON l.service = g.service AND l.instance = g.instance
    WHERE status IN ('waiting', 'leaked')
    GROUP BY g.service, g.instance, state, function, file, line, creator_function, first_s, last_s,
             looks_1, looks_2, looks_3
),
judged AS (
    SELECT places.*,
           CASE WHEN mean_1 < mean_2 AND mean_2 < mean_3 AND mean_3 - mean_1 >= :min_growth
                THEN 1 ELSE 0 END AS is_growing,
           CASE WHEN now >= :min_blocked THEN 1 ELSE 0 END AS is_crowded
    FROM places
)
SELECT service,
       CASE WHEN sum(stuck_now) > 0 THEN 'nothing can wake them'
            WHEN sum(is_growing) > 0 THEN 'grows' ELSE 'many' END AS why,
       state, function, file, line, creator_function, count(*) AS processes,
       sum(is_growing) AS growing_in, sum(now) AS goroutines, max(now) AS most_in_one,
       sqrt(avg(now * now)) AS root_mean_square,
       sum(CASE WHEN is_growing = 1 THEN 90.0 * (mean_3 - mean_1) / (last_s - first_s) ELSE 0.0 END) AS per_minute,
       sum(stuck_now) AS stuck, max(wait_now_ns) AS longest_wait_ns
FROM judged
GROUP BY service, state, function, file, line, creator_function
HAVING sum(is_growing) > 0 OR sum(is_crowded) > 0 OR sum(stuck_now) > 0
ORDER BY root_mean_square DESC, service, function, line
