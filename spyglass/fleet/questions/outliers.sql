-- Processes that differ from the others of their service, of which there must be four: further from the median than
-- :deviations times the median deviation (1.4826 times that is a standard deviation), by 10 % of the median, and by what
-- is worth looking at (least).
WITH numbers AS (
    SELECT p.service, p.instance, p.host, p.pid, p.version, p.goroutines, p.threads, p.run_queue, p.cpu_cores, p.stuck,
           m.rss_bytes, m.heap_in_use_bytes, m.stacks_in_use_bytes,
           coalesce(p.namespace || '/' || p.pod, p.container_name, p.container) AS container,
           m.gc_count / nullif(p.uptime_seconds, 0) AS gc_per_second
    FROM processes AS p
    JOIN latest AS l ON l.snapshot_id = p.snapshot_id AND l.service = p.service
    JOIN memory AS m ON m.snapshot_id = p.snapshot_id AND m.service = p.service
),
measured AS (
    SELECT service, instance, host, pid, version, 'goroutines' AS number, 10 AS least, 1.0 * goroutines AS value FROM numbers
    UNION ALL SELECT service, instance, host, pid, version, 'threads', 5, 1.0 * threads FROM numbers
    UNION ALL SELECT service, instance, host, pid, version, 'run queue', 5, 1.0 * run_queue FROM numbers
    UNION ALL SELECT service, instance, host, pid, version, 'cpu cores', 0.1, 1.0 * cpu_cores FROM numbers
    UNION ALL SELECT service, instance, host, pid, version, 'stuck', 1, 1.0 * stuck FROM numbers
    UNION ALL SELECT service, instance, host, pid, version, 'rss bytes', 16777216, 1.0 * rss_bytes FROM numbers
    UNION ALL SELECT service, instance, host, pid, version, 'heap bytes', 16777216, 1.0 * heap_in_use_bytes FROM numbers
    UNION ALL SELECT service, instance, host, pid, version, 'stack bytes', 1048576, 1.0 * stacks_in_use_bytes FROM numbers
    UNION ALL SELECT service, instance, host, pid, version, 'collections per second', 0.1, gc_per_second FROM numbers
),
middles AS (
    SELECT service, number, median(value) AS middle, count(*) AS processes
    FROM measured
    WHERE value IS NOT NULL
    GROUP BY service, number
),
spreads AS (
    SELECT a.service, a.number, middle, processes, median(abs(value - middle)) AS spread
    FROM measured AS a
    JOIN middles AS b ON b.service = a.service AND b.number = a.number
    WHERE value IS NOT NULL
    GROUP BY a.service, a.number, middle, processes
)
SELECT a.service, a.number, a.host, a.pid, n.container, a.version, value, middle AS median, spread AS median_deviation, processes,
       abs(value - middle) / nullif(1.4826 * spread, 0) AS deviations
FROM measured AS a
JOIN spreads AS b ON b.service = a.service AND b.number = a.number
JOIN numbers AS n ON n.service = a.service AND n.instance = a.instance
WHERE processes >= 4 AND abs(value - middle) > greatest(:deviations * 1.4826 * spread, 0.1 * abs(middle), least)
ORDER BY CASE WHEN spread = 0 THEN 0 ELSE 1 END, deviations DESC, a.service, a.number, a.host, a.pid
