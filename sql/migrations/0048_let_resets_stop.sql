-- phase: pre
-- locks: dripd.event_in, while the queue is rewritten
-- takes: rewrite
-- A reset that has not been processed stops like a reply: no lease of the contact passes it.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.event_in DROP COLUMN kind_bit;  -- and the indexes on it
ALTER TABLE dripd.event_in ADD COLUMN
    kind_bit int4 GENERATED ALWAYS AS (CASE kind
        WHEN 'reply' THEN 1
        WHEN 'open' THEN 2
        WHEN 'click' THEN 4
        WHEN 'bounce' THEN 8
        WHEN 'unsubscribe' THEN 16
        WHEN 'complaint' THEN 32
        WHEN 'interaction' THEN 64
        WHEN 'form' THEN 128
        WHEN 'status_changed' THEN 256
        WHEN 'tag_added' THEN 512
        WHEN 'tag_removed' THEN 1024
        WHEN 'list_added' THEN 2048
        WHEN 'list_removed' THEN 4096
        WHEN 'contact_created' THEN 8192
        WHEN 'field_changed' THEN 16384
        WHEN 'contact_erased' THEN 32768
        WHEN 'reset' THEN 32768
        ELSE 0 END) STORED;
CREATE INDEX event_in_stop ON dripd.event_in (account_id, id) WHERE kind_bit & 32825 <> 0;
CREATE INDEX event_in_subject ON dripd.event_in (subject, account_id) INCLUDE (kind_bit);
