package redis

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"milterd/policy/limits"
)

var _ limits.Shared = (*Limits)(nil)

// Limits keeps the counts and blocks of package limits in a server, for many hosts.
type Limits struct {
	*Client
	prefix string
	// blocks is the key of the blocked logins.
	blocks string
}

func (c *Client) Limits() *Limits {
	return &Limits{c, c.config.Prefix + "limit:", c.config.Prefix + "blocks"}
}

// take answers buckets. KEYS are the hash of blocked logins, then a count for each bucket:
// the time at which it will be empty, in microseconds. ARGV are the login, the name and the
// rest of its block as the host knows it, whether the server cannot have heard of that, then
// for each bucket: interval, burst, n, limit, whether it is enforced, the time until it is
// empty at least, as the host knows it, and what was taken of it elsewhere. It is
// limits.Memory's Take, with the server's clock. In the hash a login has until when it is
// blocked, or, as a negative number, until when what hosts know of its counts does not
// matter, as it was released. A block without a realm holds for all of them. The answer to a
// blocked login is the rest of the block, and its name.
var take = redis.NewScript(`
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local released = false
if ARGV[1] ~= '' then
  local mark = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
  if mark > now then return {mark - now, ARGV[1]} end
  released = -mark > now
  local user = string.match(ARGV[1], '^([^@]+)@')
  mark = user and tonumber(redis.call('HGET', KEYS[1], user) or 0) or 0
  if mark > now then return {mark - now, user} end
  local rest = tonumber(ARGV[3])
  if rest > 0 and (ARGV[4] == '1' or tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or 0) >= 0) then
    if redis.call('HLEN', KEYS[1]) < ` + strconv.Itoa(maxBlocks) + ` then
      redis.call('HSET', KEYS[1], ARGV[2], string.format('%.0f', now + rest))
    end
    return {rest, ARGV[2]}
  end
end
local left, raised, room, refused = {}, {}, {}, false
for i = 2, #KEYS do
  local a = (i - 2) * 7 + 4
  local interval, burst, n = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  local limit, known, alone = ARGV[a + 4], tonumber(ARGV[a + 6]), tonumber(ARGV[a + 7])
  local value = redis.pcall('GET', KEYS[i])
  left[i] = math.max((type(value) == 'string' and tonumber(value) or 0) - now, 0)
  -- A clock that went back does not lengthen what the key has left.
  local rest = redis.call('PTTL', KEYS[i])
  if rest >= 0 then left[i] = math.min(left[i], (rest + 1) * 1000) end
  if not released then
    raised[i] = math.max(alone, known - left[i]) > 0
    left[i] = math.max(left[i] + alone, known)
  end
  if left[i] > burst * interval then
    left[i] = burst * interval
    redis.call('SET', KEYS[i], string.format('%.0f', now + left[i]), 'PX', math.ceil(left[i] / 1000))
  end
  if left[i] + (math.max(n, 1) - burst) * interval > 0 then
    room[limit] = false
    refused = refused or ARGV[a + 5] == '1'
  elseif room[limit] == nil then
    room[limit] = true
  end
end
local answer = {0}
for i = 2, #KEYS do
  local a = (i - 2) * 7 + 4
  local n, limit = tonumber(ARGV[a + 3]), ARGV[a + 4]
  local after, taken = left[i], 0
  if not refused and room[limit] and n > 0 then
    after, taken = after + n * tonumber(ARGV[a + 1]), 1
  end
  if after > 0 and (taken == 1 or raised[i]) then
    redis.call('SET', KEYS[i], string.format('%.0f', now + after), 'PX', math.ceil(after / 1000))
  end
  table.insert(answer, left[i])
  table.insert(answer, taken)
end
return answer
`)

// Take implements limits.Shared. It is one round trip.
func (l *Limits) Take(ctx context.Context, login string, block limits.Block, all []limits.Bucket, known []limits.Known) (limits.Block, error) {
	if login == "" && len(all) == 0 {
		return limits.Block{}, nil
	}
	keys, args := l.question(login, block, all, known)
	var reply []any
	err := l.do(ctx, "count", func(ctx context.Context) (err error) {
		reply, err = take.Run(ctx, l.client, keys, args...).Slice()
		return err
	})
	if err != nil {
		return limits.Block{}, err
	}
	if len(reply) == 2 {
		left, isNumber := reply[0].(int64)
		name, isText := reply[1].(string)
		if !isNumber || !isText || left <= 0 || name != login && !strings.HasPrefix(login, name+"@") {
			return limits.Block{}, errors.New("redis: count: what is said of a block is not one")
		}
		return limits.Block{Name: name, Left: left}, nil
	}
	if len(reply) != 1+2*len(all) {
		return limits.Block{}, fmt.Errorf("redis: count: an answer of %d parts, expected %d", len(reply), 1+2*len(all))
	}
	for i := range all {
		left, isLeft := reply[1+2*i].(int64)
		taken, isTaken := reply[2+2*i].(int64)
		if !isLeft || !isTaken {
			return limits.Block{}, errors.New("redis: count: an answer that is no number")
		}
		all[i].Left, all[i].Taken = max(left, 0), taken == 1
	}
	return limits.Block{}, nil
}

// question makes the keys and arguments of the script.
func (l *Limits) question(login string, block limits.Block, all []limits.Bucket, known []limits.Known) (keys []string, args []any) {
	keys, args = append(make([]string, 0, 1+len(all)), l.blocks), append(make([]any, 0, 4+7*len(all)), login, block.Name, block.Left, number(block.Alone))
	for i := range all {
		b := &all[i]
		keys = append(keys, l.key(b.Key))
		args = append(args, b.Interval, b.Burst, b.N, b.Limit, number(b.Enforced), known[i].Left, known[i].Alone)
	}
	return keys, args
}

// number is how a script has it.
func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (l *Limits) key(key limits.Key) string { return l.prefix + hex.EncodeToString(key[:]) }

// maxBlocks bounds the blocked logins, and what is read of them.
const maxBlocks = 10_000

// mark notes a login, LOGIN TIME FACTOR, until so many microseconds from now, and forgets
// marks that are over if there are many. It returns whether the login was blocked, or -1
// without room.
var mark = redis.NewScript(`
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local was = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
if redis.call('HLEN', KEYS[1]) >= ` + strconv.Itoa(maxBlocks) + ` then
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    if math.abs(tonumber(all[i + 1]) or 0) <= now then redis.call('HDEL', KEYS[1], all[i]) end
  end
  if was == 0 and redis.call('HLEN', KEYS[1]) >= ` + strconv.Itoa(maxBlocks) + ` then return -1 end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', (now + tonumber(ARGV[2])) * tonumber(ARGV[3])))
for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end
if was > now then return 1 end
return 0
`)

func (l *Limits) Block(ctx context.Context, login string, length time.Duration) error {
	_, err := l.mark(ctx, "block a login", login, length, 1, nil)
	return err
}

// Release implements limits.Shared. For as long as a limit may be, hosts that have counted
// by themselves do not bring the old counts back.
func (l *Limits) Release(ctx context.Context, login string, counts []limits.Key) (blocked bool, err error) {
	return l.mark(ctx, "release a login", login, limits.Longest, -1, counts)
}

func (l *Limits) mark(ctx context.Context, what, login string, length time.Duration, factor int, counts []limits.Key) (was bool, err error) {
	keys := []string{l.blocks}
	for _, key := range counts {
		keys = append(keys, l.key(key))
	}
	var reply int64
	err = l.do(ctx, what, func(ctx context.Context) (err error) {
		reply, err = mark.Run(ctx, l.client, keys, login, length.Microseconds(), factor).Int64()
		return err
	})
	if err == nil && reply < 0 {
		err = limits.ErrTooManyBlocks
	}
	return reply == 1, err
}

func (l *Limits) Blocks(ctx context.Context) (map[string]time.Duration, error) {
	var marks map[string]string
	var now time.Time
	err := l.do(ctx, "list blocked logins", func(ctx context.Context) (err error) {
		node, err := l.node(ctx, l.blocks)
		if err != nil {
			return err
		}
		now, err = node.Time(ctx).Result()
		if err != nil {
			return err
		}
		marks, err = node.HGetAll(ctx, l.blocks).Result()
		return err
	})
	if err != nil {
		return nil, err
	}
	all := make(map[string]time.Duration)
	for login, text := range marks {
		until, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, errors.New("redis: list blocked logins: what is kept there is no time")
		}
		if left := until - now.UnixMicro(); left > 0 {
			all[login] = time.Duration(left) * time.Microsecond
		}
	}
	return all, nil
}
