package accounts

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// tries counts how many of so many tries are let through, and gives the last refusal.
func tries(th *throttle, n int, account, address string, now time.Time) (passed int, refused ErrThrottled) {
	for range n {
		if err := th.try(account, address, now); err == nil {
			passed++
		} else {
			errors.As(err, &refused)
		}
	}
	return passed, refused
}

func TestThrottleOfAnAccount(t *testing.T) {
	th := newThrottle(Throttle{AccountBurst: 3, AccountInterval: time.Minute, AddressBurst: 1000})
	for i, c := range []struct {
		after  time.Duration
		passed int
		retry  time.Duration
	}{{0, 3, time.Minute}, {30 * time.Second, 0, 30 * time.Second}, {time.Minute, 1, time.Minute}, {time.Hour, 3, time.Minute}} {
		// The addresses differ: an account is defended against many.
		passed, refused := tries(th, 5, "alice@example.org", fmt.Sprintf("192.0.2.%d", i), when.Add(c.after))
		if passed != c.passed || refused.RetryAfter != c.retry {
			t.Errorf("after %s: %d passed, again in %s", c.after, passed, refused.RetryAfter)
		}
	}
	if passed, _ := tries(th, 5, "bob@example.org", "192.0.2.1", when); passed != 3 {
		t.Errorf("another account: %d passed", passed)
	}
	th.succeeded("alice@example.org")
	if passed, _ := tries(th, 5, "alice@example.org", "192.0.2.1", when.Add(time.Hour)); passed != 3 {
		t.Errorf("after a success: %d passed", passed)
	}
}

func TestThrottleOfAnAddress(t *testing.T) {
	th := newThrottle(Throttle{AddressBurst: 4, AddressInterval: time.Minute, AccountBurst: 1000})
	passed := 0
	for i := range 10 {
		n, _ := tries(th, 1, fmt.Sprintf("user%d@example.org", i), "192.0.2.7:1234", when)
		passed += n
	}
	if passed != 4 {
		t.Errorf("%d passed", passed)
	}
	if n, _ := tries(th, 1, "user@example.org", "192.0.2.8:1234", when); n != 1 {
		t.Error("another address is throttled")
	}
	// Success clears the account only.
	th.succeeded("user0@example.org")
	if n, _ := tries(th, 1, "user0@example.org", "192.0.2.7:999", when); n != 0 {
		t.Error("success cleared the address")
	}
	// An address that is refused does not use up the tries of an account.
	if n, _ := tries(th, 1, "user9@example.org", "192.0.2.9:1", when); n != 1 {
		t.Error("the account was charged")
	}
}

func TestThrottleRemembersABoundedNumber(t *testing.T) {
	th := newThrottle(Throttle{AddressBurst: 1 << 20})
	for i := range throttleSize + 100 {
		_ = th.try(fmt.Sprint("user", i), "192.0.2.7", when)
	}
	if th.accounts.Len() != throttleSize || th.addresses.Len() != 1 {
		t.Errorf("%d accounts, %d addresses", th.accounts.Len(), th.addresses.Len())
	}
}

func TestNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "192.0.2.7:80": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "[::ffff:192.0.2.7]:80": "192.0.2.7",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "[2001:db8:1:2::9]:443": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
		"": "unknown", "@": "unknown", "localhost:80": "unknown",
	} {
		if got := network(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}
