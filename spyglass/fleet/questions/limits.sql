-- Processes that use :min_used percent or more of the nearest limit of their memory, in the last snapshot of each; without what the
-- kernel can reclaim. How fast resident memory grew: from the first snapshot that was asked for to the last.
WITH firsts AS (
    SELECT service, instance, min(taken_s) AS first_s, min_by(rss_bytes, taken_s) AS first_rss_bytes
    FROM memory
    WHERE rss_bytes IS NOT NULL
    GROUP BY service, instance
),
lasts AS (
    SELECT m.*, p.pid, coalesce(p.namespace || '/' || p.pod, p.container_name, p.container) AS container,
           greatest(coalesce(resident_go_heap_objects_bytes, 0), coalesce(resident_go_heap_unused_bytes, 0),
                    coalesce(resident_go_heap_free_bytes, 0), coalesce(resident_go_stacks_bytes, 0),
                    coalesce(resident_go_metadata_bytes, 0), coalesce(resident_go_arenas_bytes, 0),
                    coalesce(resident_binary_bytes, 0), coalesce(resident_c_bytes, 0),
                    coalesce(resident_thread_stacks_bytes, 0), coalesce(resident_files_bytes, 0),
                    coalesce(resident_shared_bytes, 0), coalesce(resident_other_bytes, 0)) AS largest_bytes
    FROM memory AS m
    JOIN latest AS l ON l.snapshot_id = m.snapshot_id AND l.service = m.service
    JOIN processes AS p ON p.snapshot_id = m.snapshot_id AND p.service = m.service
    WHERE limit_bytes > 0
)
SELECT a.service, host, pid, container, limit_name AS limit_of, limit_bytes, limit_headroom_bytes AS headroom_bytes,
       100.0 * (limit_bytes - limit_headroom_bytes) / limit_bytes AS used_percent, rss_bytes,
       CASE largest_bytes WHEN 0 THEN NULL
            WHEN resident_go_heap_objects_bytes THEN 'objects of the Go heap'
            WHEN resident_go_heap_unused_bytes THEN 'unused slots of the Go heap'
            WHEN resident_go_heap_free_bytes THEN 'free Go heap'
            WHEN resident_go_stacks_bytes THEN 'goroutine stacks'
            WHEN resident_go_metadata_bytes THEN 'Go runtime'
            WHEN resident_go_arenas_bytes THEN 'Go heap and stacks'
            WHEN resident_binary_bytes THEN 'program'
            WHEN resident_c_bytes THEN 'C'
            WHEN resident_thread_stacks_bytes THEN 'thread stacks'
            WHEN resident_files_bytes THEN 'files'
            WHEN resident_shared_bytes THEN 'shared memory'
            ELSE 'other' END AS mostly,
       nullif(largest_bytes, 0) AS mostly_bytes,
       60.0 * (rss_bytes - first_rss_bytes) / nullif(taken_s - first_s, 0) AS per_minute_bytes, oom_kills
FROM lasts AS a
LEFT JOIN firsts AS f ON f.service = a.service AND f.instance = a.instance
WHERE 100.0 * (limit_bytes - limit_headroom_bytes) / limit_bytes >= :min_used
ORDER BY used_percent DESC, a.service, host, pid
