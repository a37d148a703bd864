-- What changed between two versions of a service, :old and :new; where these are empty, between the two that appeared
-- last. Goroutines of a process at a place, on average over the snapshots of each version.
WITH appeared AS (
    SELECT service, version, count(*) AS looks,
           row_number() OVER (PARTITION BY service ORDER BY min(taken_s) DESC, version) AS age
    FROM processes
    WHERE version IS NOT NULL
    GROUP BY service, version
),
chosen AS (
    SELECT n.service, o.version AS old_version, n.version AS new_version, o.looks AS old_looks, n.looks AS new_looks
    FROM appeared AS n
    JOIN appeared AS o ON o.service = n.service AND o.version <> n.version
    WHERE (n.version = :new OR (:new = '' AND n.age = 1))
          AND (o.version = :old OR (:old = '' AND o.age = n.age + 1))
),
places AS (
    SELECT g.service, old_version, new_version, old_looks, new_looks, state, function, creator_function,
           sum(CASE WHEN version = old_version THEN count ELSE 0 END) AS old_count,
           sum(CASE WHEN version = new_version THEN count ELSE 0 END) AS new_count
    FROM groups AS g
    JOIN chosen AS c ON c.service = g.service
    GROUP BY g.service, old_version, new_version, old_looks, new_looks, state, function, creator_function
)
SELECT service, old_version, new_version, state, function, creator_function,
       1.0 * old_count / old_looks AS old_mean, 1.0 * new_count / new_looks AS new_mean,
       1.0 * new_count / new_looks - 1.0 * old_count / old_looks AS change, old_looks, new_looks
FROM places
WHERE abs(1.0 * new_count / new_looks - 1.0 * old_count / old_looks) >= :min_change
ORDER BY abs(1.0 * new_count / new_looks - 1.0 * old_count / old_looks) DESC, service, function
