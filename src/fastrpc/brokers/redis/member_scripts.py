"""Scripts of members: join, take, settle, renew, leave. For the invariants see `lua.py`."""

from typing import Final

from fastrpc.brokers.redis.lua import ON_GROUP, ON_TOPIC, TRIMMING, Script

__all__ = ["ACK", "BEGIN", "LEAVE", "LOOK", "NACK", "REJECT", "RENEW", "STOP_WAITING", "TAKE"]

#: KEYS[2]: the hash of all groups. ARGV: group, member ("": none), the entry before the group's first message,
#: milliseconds of a lease, "1" if the group may be created, the base, the name of the topic.
#: Returns the group's epoch and "made", "lost" or "kept"; only the group's topic if that is another topic; nothing if
#: the topic is missing, or the group is missing and must not be created.
#: The script creates the group and stores its topic in one step, so a group has one topic. If the stored topic has no
#: such group, the name is free for another topic. If the server has lost the stream's group but not the hash of the
#: group, the group starts at the oldest message, and no message is pending.
BEGIN: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    """
if redis.call('EXISTS', topic) == 0 then
    return {}
end
local noted = redis.call('HGET', KEYS[2], group)
if noted and noted ~= ARGV[7] then
    -- Build the key of the topic as `topic_key` does.
    local tag = noted:gsub('%%', '%%25'):gsub('}', '%%7D')
    if redis.call('EXISTS', ARGV[6] .. ':{' .. tag .. '}:group:' .. group) == 1 then
        return {noted}
    end
end
local epoch, outcome = redis.call('HGET', key('group'), 'epoch'), 'kept'
local is_there = try('XPENDING', log, group)
if not epoch or not is_there then
    if ARGV[5] ~= '1' then
        return {}
    end
    outcome = epoch and 'lost' or 'made'
    if not is_there then
        redis.call('XGROUP', 'CREATE', log, group, epoch and '0' or ARGV[3], 'MKSTREAM')
    end
    redis.call('DEL', key('leases'), key('removed'))
    epoch = time[1] .. '.' .. time[2]
    redis.call('HSET', key('group'), 'epoch', epoch, 'empty', now)
    redis.call('SADD', topic .. ':names', group)
end
if noted ~= ARGV[7] then
    redis.call('HSET', KEYS[2], group, ARGV[7])
end
if ARGV[2] ~= '' then
    redis.call('ZADD', key('members'), now + ARGV[4], ARGV[2])
    redis.call('HDEL', key('group'), 'empty')
end
return {epoch, outcome}
""",
)

#: ARGV: group, member, most messages, milliseconds of a lease, the channel of the process, most bytes.
#: Returns -1 if the group was removed, -2 if the server lost it. Else returns its epoch; milliseconds until the next
#: waiting entry is due (-1 without such an entry, -2 if there may be more messages now); reports; and for each message
#: its entry, its words, the number of the delivery, and 1 for a replay.
#: Each returned message is pending for this member, under a lease. If fewer than the most messages are returned, the
#: next change is published to the channel. Members need no lock, as the server runs one script at a time.
TAKE: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    TRIMMING,
    """
local consumer, most, most_bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[6])
local epoch = redis.call('HGET', key('group'), 'epoch')
if not epoch then
    return {redis.call('EXISTS', key('removed')) == 1 and -1 or -2}
end
if not try('XPENDING', log, group) then
    return {-2}
end
trim()
local lease, found, size = now + ARGV[4], {}, 0
local function add(source, entry, count)
    table.insert(found, {entry[1], entry[2], count, source == log and 0 or 1})
    for _, word in ipairs(entry[2]) do
        size = size + #word
    end
end
local function is_full()
    return #found >= most or size >= most_bytes
end
local function take_due(source)
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases_of(source), '-inf', now, 'LIMIT', 0, most - #found)) do
        if is_full() then
            return
        end
        local entry = redis.call('XCLAIM', source, group, consumer, 0, id)[1]
        if entry then
            redis.call('ZADD', leases_of(source), lease, id)
            add(source, entry, redis.call('XPENDING', source, group, id, id, 1)[1][4])
        else
            -- The log has dropped the entry.
            redis.call('XACK', source, group, id)
            redis.call('ZREM', leases_of(source), id)
            lose(group, 1)
        end
    end
end
local function take_new(source)
    while not is_full() do
        -- Read at most 8 messages at a time, because they may be long.
        local count = math.min(most - #found, 8)
        local read = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', count, 'STREAMS', source, '>')
        if not read then
            return
        end
        for _, entry in ipairs(read[1][2]) do
            redis.call('ZADD', leases_of(source), lease, entry[1])
            add(source, entry, 1)
        end
    end
end
local replays = key('replays')
if redis.call('EXISTS', replays) == 1 then
    take_due(replays)
    take_new(replays)
end
take_due(log)
take_new(log)
redis.call('ZADD', key('members'), lease, consumer)
local wait = is_full() and -2 or -1
if wait == -2 then
    redis.call('HDEL', key('waiting'), consumer)
else
    redis.call('HSET', key('waiting'), consumer, ARGV[5])
    redis.call('SADD', topic .. ':waiting', 'group:' .. group)
    for _, source in ipairs({log, replays}) do
        local due = redis.call('ZRANGE', leases_of(source), 0, 0, 'WITHSCORES')[2]
        if due then
            due = math.max(due - now, 0)
            wait = wait < 0 and due or math.min(wait, due)
        end
    end
end
return {epoch, wait, reports, found}
""",
)

#: For broadcasts; the script changes no group. ARGV: the entry before the first message to read, most messages, the
#: channel of the process, most bytes. Returns nothing if the topic is missing. If the first argument is "$", returns
#: the id of the last entry, else messages in the form of `TAKE`.
LOOK: Final = Script(
    ON_TOPIC,
    """
if redis.call('EXISTS', topic) == 0 then
    return {}
end
if ARGV[1] == '$' then
    if redis.call('EXISTS', log) == 0 then
        return {'0-0'}
    end
    return {redis.call('XINFO', 'STREAM', log)[8]}
end
local after, most, most_bytes, found, size = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4]), {}, 0
while #found < most and size < most_bytes do
    local read = redis.call('XREAD', 'COUNT', math.min(most - #found, 8), 'STREAMS', log, after)
    if not read then
        break
    end
    for _, entry in ipairs(read[1][2]) do
        after = entry[1]
        table.insert(found, {entry[1], entry[2], 1, 0})
        for _, word in ipairs(entry[2]) do
            size = size + #word
        end
    end
end
if #found == 0 then
    redis.call('SADD', topic .. ':waiting', 'channel:' .. ARGV[3])
end
return {'', -1, {}, found}
""",
)

#: ARGV of scripts that settle: group, member, epoch, stream, entry. They return 1 on success; 0 if the message is
#: settled already, for example by an earlier attempt; -1 if another member has it, it waits for another delivery, or
#: the group was replaced.
_SETTLING: Final = """
local consumer, source = ARGV[2], key(ARGV[4])
if ARGV[4] == 'log' then
    source = log
end
local is_same = redis.call('HGET', key('group'), 'epoch') == ARGV[3]
local is_queue = source ~= log or redis.call('HGET', topic, 'keep') == ''

-- Returns the deliveries of an entry if the member may settle it.
local function deliveries(entry)
    local held = is_same and try('XPENDING', source, group, entry, entry, 1, consumer)
    return held and held[1] and held[1][4]
end

-- Returns the outcome for an entry that the member does not hold. A server with appendfsync everysec may lose the
-- delivery of an entry if it is killed: then the entry is beyond the group's last delivered entry, and is not settled.
local function outcome_of(entry)
    local pending = is_same and try('XPENDING', source, group, entry, entry, 1)
    if not pending or #pending > 0 then
        return -1
    end
    for _, info in ipairs(redis.call('XINFO', 'GROUPS', source)) do
        if info[2] == group and #redis.call('XRANGE', source, '(' .. info[8], entry, 'COUNT', 1) > 0 then
            return -1
        end
    end
    return 0
end

-- Ends a pending entry: a log keeps its message, a queue has no other group.
local function finish(entry)
    redis.call('XACK', source, group, entry)
    redis.call('ZREM', leases_of(source), entry)
    if is_queue then
        redis.call('XDEL', source, entry)
    end
end
"""

#: ARGV: as for all scripts that settle, but with any number of entries. Returns the outcome of each entry.
ACK: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    _SETTLING,
    """
local outcomes = {}
for index = 5, #ARGV do
    if deliveries(ARGV[index]) then
        finish(ARGV[index])
        outcomes[index - 4] = 1
    else
        outcomes[index - 4] = outcome_of(ARGV[index])
    end
end
return outcomes
""",
)

#: ARGV: as for all scripts that settle; then milliseconds of the pause, and a number to add to the deliveries: -1 if
#: the message is handed back. The script also returns 0 if the message waits for its next delivery already, for
#: example after an earlier attempt.
#: The end of the pause is stored in `leases`: a pause may be longer than a lease, and Redis allows no idle time that
#: lies in the future.
NACK: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    _SETTLING,
    """
local count = deliveries(ARGV[5])
if not count then
    return is_same and 0 or -1
end
leave_to_all(source, ARGV[5], math.max(count + ARGV[7], 0), now + ARGV[6])
if ARGV[6] == '0' then
    wake(group, 1)
else
    -- Wake all members, so that each learns when the entry is due: it is unknown which of them will be waiting then.
    wake_all()
end
return 1
""",
)

#: ARGV: as for all scripts that settle; then the entry in the log, reason, error, and the words of the message.
#: The message is settled and becomes a dead letter in one step.
REJECT: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    _SETTLING,
    """
local count = deliveries(ARGV[5])
if not count then
    return outcome_of(ARGV[5])
end
local told = {'entry', ARGV[6], 'deliveries', count, 'reason', ARGV[7], 'error', ARGV[8]}
for index = 9, #ARGV do
    table.insert(told, ARGV[index])
end
redis.call('XADD', key('dead'), '*', unpack(told))
finish(ARGV[5])
return 1
""",
)

#: ARGV: group, member, epoch, milliseconds of a lease, the number of entries of the log, these entries, entries of
#: `replays`. Returns 1, and for each entry 1 if the member still holds it, else 0; nothing if the epoch has changed.
RENEW: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    """
if redis.call('HGET', key('group'), 'epoch') ~= ARGV[3] then
    return {}
end
redis.call('ZADD', key('members'), now + ARGV[4], ARGV[2])
local outcomes = {1}
for index = 6, #ARGV do
    local source = index - 5 <= tonumber(ARGV[5]) and log or key('replays')
    local held = try('XPENDING', source, group, ARGV[index], ARGV[index], 1, ARGV[2])
    local is_held = held and held[1]
    if is_held then
        redis.call('ZADD', leases_of(source), now + ARGV[4], ARGV[index])
    end
    table.insert(outcomes, is_held and 1 or 0)
end
return outcomes
""",
)

#: ARGV: group, member. Records that the member has no waiting take. If it was woken before, another member is woken.
STOP_WAITING: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    """
if redis.call('HDEL', key('waiting'), ARGV[2]) == 0 then
    wake(group, 1)
end
return 1
""",
)

#: ARGV: group, member. Removes the member; its messages are available to other members immediately.
LEAVE: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    """
release(ARGV[2])
if redis.call('EXISTS', key('group')) == 1 and redis.call('ZCARD', key('members')) == 0 then
    redis.call('HSET', key('group'), 'empty', now)
end
wake_all()
return 1
""",
)
