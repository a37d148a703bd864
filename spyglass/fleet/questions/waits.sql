-- What goroutines wait on, in the last snapshot of each process.
SELECT w.service, kind, operation, object, object_type, peer, holder_function, function,
       count(DISTINCT w.instance) AS processes, sum(goroutines) AS goroutines,
       max(longest_wait_ns) AS longest_wait_ns, sum(stuck) AS stuck
FROM waits AS w
JOIN latest AS l ON l.snapshot_id = w.snapshot_id AND l.service = w.service
GROUP BY w.service, kind, operation, object, object_type, peer, holder_function, function
ORDER BY goroutines DESC, processes DESC, w.service, function
