"""The common parts of the Lua scripts. Each script changes a topic or a group atomically.

KEYS[1] is the hash of a topic; its name is the prefix of all other keys (`keys.py`). Invariants between scripts:

- An entry of the log is in `leases` exactly while it is pending in the stream's group. Its score is the instant from
  which another member may get it. The same holds for entries of `replays` and the set `again`.
- The consumer of a pending entry is the member that may settle it; entries that wait have the consumer `-`.
- A member is added to `waiting` when a take gets fewer messages than it asked for. It is removed when it is woken, when
  a take gets enough, or when it leaves the group. A woken member that takes nothing wakes another member.
- `epoch` changes when a group is created or moved. A member with an older epoch knows that its messages are lost.
- A message is in exactly one state of a group: beyond the last delivered entry, pending, dead, or handled.
"""

import hashlib
from typing import Final

__all__ = ["ON_GROUP", "ON_TOPIC", "TRIMMING", "Script"]


class Script:
    """A script and its digest, by which it is called (EVALSHA)."""

    __slots__ = ("digest", "text")

    def __init__(self, *parts: str) -> None:
        self.text = "".join(parts)
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


ON_TOPIC: Final = """
local topic, log = KEYS[1], KEYS[1] .. ':log'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Returns the field `n` of an entry; 0 if another program has written the entry without this field.
local function number_of(entry)
    return entry[2][1] == 'n' and tonumber(entry[2][2]) or 0
end

-- Wakes up to `count` waiting members of a group. Members whose process is not subscribed to its channel do not count.
-- If the ACL forbids PUBLISH, the script still succeeds, since takes also poll.
local function wake(group, count)
    local waiting = topic .. ':waiting:' .. group
    while count > 0 do
        local found = redis.call('HRANDFIELD', waiting, count, 'WITHVALUES')
        if #found == 0 then
            redis.call('SREM', topic .. ':waiting', 'group:' .. group)
            return
        end
        for index = 1, #found, 2 do
            redis.call('HDEL', waiting, found[index])
            local told = topic .. '\\n' .. group .. '\\n' .. found[index]
            if redis.pcall('PUBLISH', found[index + 1], told) ~= 0 then
                count = count - 1
            end
        end
    end
end
"""

ON_GROUP: Final = """
local group = ARGV[1]
local function key(name, of)
    return topic .. ':' .. name .. ':' .. (of or group)
end
local function leases_of(source)
    return key(source == log and 'leases' or 'again')
end

-- Returns the answer to a command; nil if the group or stream does not exist, or the group to create already exists.
local function try(...)
    local answer = redis.pcall(...)
    local fault = type(answer) == 'table' and answer.err
    if not fault then
        return answer
    end
    for _, known in ipairs({'NOGROUP', 'BUSYGROUP', 'no such key', 'key to exist'}) do
        if fault:find(known, 1, true) then
            return nil
        end
    end
    error(fault)
end

-- Wakes all waiting takes of the group.
local function wake_all()
    wake(group, redis.call('HLEN', key('waiting')))
end

-- Makes a pending entry available to all members from the instant `due` on. `count` is its number of deliveries.
local function leave_to_all(source, entry, count, due)
    redis.call('XCLAIM', source, group, '-', 0, entry, 'RETRYCOUNT', count, 'JUSTID')
    redis.call('ZADD', leases_of(source), due, entry)
end

-- Removes a member. Its messages are available to other members immediately; its deliveries count.
local function release(consumer)
    for _, source in ipairs({log, key('replays')}) do
        local held
        repeat
            held = try('XPENDING', source, group, '-', '+', 100, consumer) or {}
            for _, one in ipairs(held) do
                leave_to_all(source, one[1], one[4], now)
            end
        until #held == 0
        try('XGROUP', 'DELCONSUMER', source, group, consumer)
    end
    redis.call('ZREM', key('members'), consumer)
    redis.call('HDEL', key('waiting'), consumer)
end

-- Removes the group with its dead letters. The next take of each member reports this.
local function remove()
    try('XGROUP', 'DESTROY', log, group)
    redis.call('DEL', key('group'), key('members'), key('leases'), key('replays'), key('again'), key('dead'))
    redis.call('SREM', topic .. ':names', group)
    redis.call('SET', key('removed'), '1', 'EX', 86400)
    wake_all()
end

-- Tells all members that their messages are lost.
local function ring_members(channels)
    for _, consumer in ipairs(redis.call('ZRANGE', key('members'), 0, -1)) do
        redis.pcall('PUBLISH', channels .. consumer:match('^%w+'), topic .. '\\n' .. group)
    end
end
"""

#: The parts that trim a log. `reports` has events for operators: group, event, number.
TRIMMING: Final = """
local reports = {}
local function lose(of, count)
    local hash = key('group', of)
    redis.call('HINCRBY', hash, 'expired', count)
    local untold = redis.call('HINCRBY', hash, 'untold', count)
    if now >= (redis.call('HGET', hash, 'told') or 0) + 60000 then
        redis.call('HSET', hash, 'told', now, 'untold', 0)
        table.insert(reports, {of, 'expired', untold})
    end
end

-- Drops the messages of a log that are too old, and counts for each group the messages that it has not started. The
-- length of the log is not limited, because a limit would also drop recent messages.
local function trim()
    local keep = redis.call('HGET', topic, 'keep')
    if not keep or keep == '' or tonumber(keep) >= now then
        return
    end
    local limit = string.format('%.0f-0', now - keep)
    if #redis.call('XRANGE', log, '-', '(' .. limit, 'COUNT', 1) == 0 then
        return
    end
    local lost = {}
    for _, info in ipairs(redis.call('XINFO', 'GROUPS', log)) do
        local first = redis.call('XRANGE', log, '(' .. info[8], '(' .. limit, 'COUNT', 1)[1]
        if first then
            lost[info[2]] = number_of(first)
        end
    end
    redis.call('XTRIM', log, 'MINID', '=', limit)
    local left = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    left = left and number_of(left) or redis.call('HGET', topic, 'count') + 1
    for of, first in pairs(lost) do
        lose(of, math.max(left - first, 0))
    end
end
"""
