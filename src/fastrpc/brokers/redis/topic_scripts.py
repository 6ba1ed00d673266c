"""Scripts of topics: declare, publish, remove what is old. For the invariants see `lua.py`."""

from typing import Final

from fastrpc.brokers.redis.lua import ON_GROUP, ON_TOPIC, TRIMMING, Script

__all__ = ["DECLARE", "PUBLISH", "TEND"]

#: ARGV: settings, dedupe and keep in milliseconds (keep is "" for a queue). Returns the settings of the topic.
#: The settings of a topic never change: the first declaration counts.
DECLARE: Final = Script(
    ON_TOPIC,
    """
local kept = redis.call('HGET', topic, 'settings')
if kept then
    return kept
end
redis.call('HSET', topic, 'settings', ARGV[1], 'dedupe', ARGV[2], 'keep', ARGV[3])
return ARGV[1]
""",
)

#: ARGV: for each message "1" if its publisher gave an id, the number of its words, and the words. KEYS[2…]: the keys of
#: these ids. Returns for each message its entry, and 1 if it is a duplicate; nothing if the topic is missing.
#: An id and its entry are stored in one step, so each id has exactly one message. The field `n` of an entry numbers the
#: messages of the topic without gaps.
PUBLISH: Final = Script(
    ON_TOPIC,
    """
local dedupe = redis.call('HGET', topic, 'dedupe')
if not dedupe then
    return {}
end
local kept, at, ids, added = {}, 1, 1, 0
while at <= #ARGV do
    local has_id, last = ARGV[at] == '1', at + 1 + ARGV[at + 1]
    ids = has_id and ids + 1 or ids
    local entry = has_id and redis.call('GET', KEYS[ids])
    table.insert(kept, entry or '')
    table.insert(kept, entry and 1 or 0)
    if not entry then
        local count = redis.call('HINCRBY', topic, 'count', 1)
        entry = redis.call('XADD', log, '*', 'n', count, unpack(ARGV, at + 2, last))
        local instant, number = entry:match('(%d+)-(%d+)')
        if #number > 6 and tonumber(number) >= 1048576 then
            -- The clock has not advanced, or is behind. Use the next millisecond: the number must have at most 20 bits.
            redis.call('XDEL', log, entry)
            entry = string.format('%.0f-0', instant + 1)
            redis.call('XADD', log, entry, 'n', count, unpack(ARGV, at + 2, last))
        end
        if has_id then
            redis.call('SET', KEYS[ids], entry, 'NX', 'PX', dedupe)
        end
        kept[#kept - 1] = entry
        added = added + 1
    end
    at = last + 1
end
if added > 0 then
    -- Wake as many members of each group as there are messages, and each process that has broadcasts.
    for _, entry in ipairs(redis.call('SMEMBERS', topic .. ':waiting')) do
        local kind, name = entry:match('^(%l+):(.*)$')
        if kind == 'group' then
            wake(name, added)
        else
            redis.call('SREM', topic .. ':waiting', entry)
            redis.pcall('PUBLISH', name, topic)
        end
    end
end
return kept
""",
)

#: ARGV: "", "1" if groups may be removed. Removes old messages, members whose leases have expired, and groups of a log
#: that had no member for as long as the log keeps messages. Returns `reports`.
TEND: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    TRIMMING,
    """
trim()
local keep = redis.call('HGET', topic, 'keep')
for _, name in ipairs(redis.call('SMEMBERS', topic .. ':names')) do
    group = name
    local gone = redis.call('ZRANGEBYSCORE', key('members'), '-inf', now, 'WITHSCORES')
    for index = 1, #gone, 2 do
        release(gone[index])
    end
    if redis.call('ZCARD', key('members')) > 0 then
        -- A member may have returned after its lease had expired.
        redis.call('HDEL', key('group'), 'empty')
    elseif #gone > 0 then
        redis.call('HSET', key('group'), 'empty', gone[#gone])
    end
    local empty = redis.call('HGET', key('group'), 'empty')
    if keep and keep ~= '' and empty and empty + keep <= now and ARGV[2] == '1' then
        remove()
        table.insert(reports, {name, 'removed', 0})
    elseif #gone > 0 then
        wake_all()
    end
end
return reports
""",
)
