"""Scripts for operators: states, places, dead letters. For the invariants see `lua.py`."""

from typing import Final

from fastrpc.brokers.redis.lua import ON_GROUP, ON_TOPIC, Script

__all__ = ["DISCARD", "FORGET", "REMOVE", "REPLAY", "SEEK", "STATE"]

#: ARGV: group. Returns nothing if the group does not exist. Else returns the numbers of members, of pending entries of
#: the log, of entries of both streams that are under way, of messages beyond the last delivered message, of replays, of
#: dead letters, of expired messages; the oldest unsettled entry ("": none); the time in milliseconds.
STATE: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    """
if redis.call('EXISTS', key('group')) == 0 then
    return {}
end
local pending, under_way, oldest = 0, 0, ''
local replays = key('replays')
for _, source in ipairs({log, replays}) do
    local all = try('XPENDING', source, group)
    if all and all[1] > 0 then
        if source == log then
            pending, oldest = all[1], all[2]
        end
        under_way = under_way + all[1]
        for _, one in ipairs(all[4]) do
            under_way = under_way - (one[1] == '-' and one[2] or 0)
        end
    end
end
local beyond = 0
for _, info in ipairs(try('XINFO', 'GROUPS', log) or {}) do
    if info[2] == group then
        local first = redis.call('XRANGE', log, '(' .. info[8], '+', 'COUNT', 1)[1]
        if first then
            beyond = redis.call('HGET', topic, 'count') + 1 - number_of(first)
            oldest = oldest == '' and first[1] or oldest
        end
    end
end
if redis.call('HGET', topic, 'keep') == '' then
    -- A queue has gaps after a seek, so its messages are counted.
    beyond = redis.call('XLEN', log) - pending
end
local replay = redis.call('XRANGE', replays, '-', '+', 'COUNT', 1)[1]
return {
    redis.call('ZCOUNT', key('members'), '(' .. now, '+inf'), pending, under_way,
    -- `beyond` is out of range if another program wrote the first entry, which then has no number.
    math.min(math.max(beyond, 0), redis.call('XLEN', log)),
    redis.call('XLEN', replays), redis.call('XLEN', key('dead')),
    tonumber(redis.call('HGET', key('group'), 'expired') or 0),
    oldest ~= '' and oldest or replay and replay[2][2] or '', now
}
""",
)

#: ARGV: group, the prefix of the channels of processes, the entry before the group's next message. Returns whether the
#: group existed. Pending and replayed messages are lost; dead letters stay.
SEEK: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    """
if redis.call('EXISTS', key('group')) == 0 then
    return 0
end
try('XGROUP', 'DESTROY', log, group)
redis.call('XGROUP', 'CREATE', log, group, ARGV[3], 'MKSTREAM')
redis.call('DEL', key('leases'), key('replays'), key('again'))
redis.call('HSET', key('group'), 'epoch', time[1] .. '.' .. time[2])
if redis.call('HGET', topic, 'keep') == '' then
    -- A queue has no other group that could need the earlier messages.
    local last = redis.call('XINFO', 'GROUPS', log)[1][8]
    redis.call('XTRIM', log, 'MINID', '=', last)
    redis.call('XDEL', log, last)
end
ring_members(ARGV[2])
return 1
""",
)

#: ARGV: group, the prefix of the channels of processes. Returns whether the group existed.
REMOVE: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    """
local is_there = redis.call('EXISTS', key('group'))
if is_there == 1 then
    ring_members(ARGV[2])
    remove()
end
return is_there
""",
)

#: ARGV: group, entries of dead letters. Returns how many were replayed.
#: Each letter moves from the dead letters to the replays, which no other group reads, in one step.
REPLAY: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    """
local count = 0
for index = 2, #ARGV do
    local letter = redis.call('XRANGE', key('dead'), ARGV[index], ARGV[index])[1]
    if letter then
        local words = {'entry', letter[2][2]}
        for at = 9, #letter[2] do
            table.insert(words, letter[2][at])
        end
        redis.call('XADD', key('replays'), '*', unpack(words))
        redis.call('XDEL', key('dead'), ARGV[index])
        count = count + 1
    end
end
try('XGROUP', 'CREATE', key('replays'), group, '0', 'MKSTREAM')
wake_all()
return count
""",
)

#: ARGV: group, entries of dead letters. Returns how many of them existed.
DISCARD: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    "return redis.call('XDEL', key('dead'), unpack(ARGV, 2))",
)

#: KEYS[2]: the hash of all groups. ARGV: group, the name of the topic. Forgets the topic of a removed group, unless the
#: group was created again in the meantime.
FORGET: Final = Script(
    ON_TOPIC,
    ON_GROUP,
    """
if redis.call('HGET', KEYS[2], group) == ARGV[2] and redis.call('EXISTS', key('group')) == 0 then
    return redis.call('HDEL', KEYS[2], group)
end
return 0
""",
)
