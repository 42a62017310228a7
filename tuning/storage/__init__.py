"""Where studies live: folder, bucket or database; leases, locks, whole writes, masked passwords."""
