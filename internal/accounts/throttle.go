package accounts

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/lru"
)

// Throttle says how many logins may fail. Zero values mean the defaults.
type Throttle struct {
	// AccountBurst tries for an account may be made at once, and one more each
	// AccountInterval. A login that succeeds clears the account.
	AccountBurst    int
	AccountInterval time.Duration
	// AddressBurst and AddressInterval are the same for an address, whatever
	// becomes of the tries.
	AddressBurst    int
	AddressInterval time.Duration
}

func (t Throttle) orDefault() Throttle {
	if t.AccountBurst == 0 {
		t.AccountBurst = 10
	}
	if t.AccountInterval == 0 {
		t.AccountInterval = 30 * time.Second
	}
	if t.AddressBurst == 0 {
		t.AddressBurst = 100
	}
	if t.AddressInterval == 0 {
		t.AddressInterval = time.Second
	}
	return t
}

// throttleSize bounds how many accounts and how many addresses are remembered.
// The ones not heard of for longest are forgotten.
const throttleSize = 16384

// throttle counts tries. It knows accounts by the address that was tried, whether
// there is such a user or not, so that it tells nobody who exists.
type throttle struct {
	settings            Throttle
	mu                  sync.Mutex
	accounts, addresses *lru.Cache
}

func newThrottle(settings Throttle) *throttle {
	return &throttle{settings: settings.orDefault(), accounts: lru.New(throttleSize), addresses: lru.New(throttleSize)}
}

// try counts a try for an account from an address, and fails when there were too
// many. An empty account counts for the address only.
func (t *throttle) try(account, address string, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	wait := take(t.addresses, network(address), t.settings.AddressBurst, t.settings.AddressInterval, now)
	if wait == 0 && account != "" {
		wait = take(t.accounts, account, t.settings.AccountBurst, t.settings.AccountInterval, now)
	}
	if wait > 0 {
		return ErrThrottled{RetryAfter: wait}
	}
	return nil
}

// succeeded clears an account.
func (t *throttle) succeeded(account string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.accounts.Remove(account)
}

// take takes a try out of a bucket, or says when there will be one.
func take(buckets *lru.Cache, key string, burst int, interval time.Duration, now time.Time) time.Duration {
	var bucket *rate.Limiter
	if found, ok := buckets.Get(key); ok {
		bucket = found.(*rate.Limiter)
	} else {
		bucket = rate.NewLimiter(rate.Every(interval), burst)
		buckets.Add(key, bucket)
	}
	reservation := bucket.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

// subnet is how much of an IPv6 address somebody usually has to himself.
const subnet = 64

// network gives whom an address stands for: itself, or its IPv6 subnet.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		withPort, err := netip.ParseAddrPort(address)
		if err != nil {
			return "unknown"
		}
		ip = withPort.Addr()
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(subnet)
	if err != nil {
		return "unknown"
	}
	return prefix.String()
}
