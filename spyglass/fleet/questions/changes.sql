-- What changed at :since_s (seconds since 1970): goroutines of a process at a place, on average over the snapshots before
-- it and those since.
WITH looks AS (
    SELECT service, count(CASE WHEN taken_s < :since_s THEN 1 END) AS before_looks,
           count(CASE WHEN taken_s >= :since_s THEN 1 END) AS after_looks
    FROM processes
    GROUP BY service
),
places AS (
    SELECT service, state, function, file, line, creator_function,
           sum(CASE WHEN taken_s < :since_s THEN count ELSE 0 END) AS before_count,
           sum(CASE WHEN taken_s >= :since_s THEN count ELSE 0 END) AS after_count
    FROM groups
    GROUP BY service, state, function, file, line, creator_function
)
SELECT p.service, state, function, file, line, creator_function,
       1.0 * before_count / before_looks AS before_mean, 1.0 * after_count / after_looks AS after_mean,
       1.0 * after_count / after_looks - 1.0 * before_count / before_looks AS change,
       before_looks, after_looks
FROM places AS p
JOIN looks AS l ON l.service = p.service
WHERE before_looks > 0 AND after_looks > 0
      AND abs(1.0 * after_count / after_looks - 1.0 * before_count / before_looks) >= :min_change
ORDER BY abs(1.0 * after_count / after_looks - 1.0 * before_count / before_looks) DESC, p.service, function, line
