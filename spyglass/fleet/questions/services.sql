-- The services, and what there is of them. Goroutines and memory are those of the last snapshots.
SELECT p.service, count(DISTINCT p.instance) AS processes, count(DISTINCT p.host) AS hosts,
       count(DISTINCT p.version) AS versions, count(*) AS snapshots,
       min(p.taken_at) AS first_at, max(p.taken_at) AS last_at,
       sum(CASE WHEN l.snapshot_id IS NOT NULL THEN p.goroutines END) AS goroutines,
       sum(CASE WHEN l.snapshot_id IS NOT NULL THEN p.stuck END) AS stuck,
       sum(CASE WHEN l.snapshot_id IS NOT NULL THEN m.rss_bytes END) AS rss_bytes
FROM processes AS p
LEFT JOIN latest AS l ON l.snapshot_id = p.snapshot_id AND l.service = p.service
LEFT JOIN memory AS m ON m.snapshot_id = p.snapshot_id AND m.service = p.service
GROUP BY p.service
ORDER BY goroutines DESC, p.service
