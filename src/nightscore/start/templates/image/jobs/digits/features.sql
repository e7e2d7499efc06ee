SELECT scan_id, scan
FROM scans
WHERE day = getvariable('day')
