-- The largest groups of goroutines over all processes, in the last snapshot of each.
SELECT g.service, state, function, file, line, creator_function,
       count(DISTINCT g.instance) AS processes, sum(count) AS goroutines, max(count) AS most_in_one,
       max_by(host, count) AS most_on_host, max(longest_wait_ns) AS longest_wait_ns
FROM groups AS g
JOIN latest AS l ON l.snapshot_id = g.snapshot_id AND l.service = g.service
GROUP BY g.service, state, function, file, line, creator_function
ORDER BY goroutines DESC, g.service, function, line
