"""dripd: a drip-campaign engine that lives in one daemon and one Postgres."""
