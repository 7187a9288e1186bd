package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Bounds of passwords in bytes.
const (
	minPassword = 8
	maxPassword = 1024
)

// Sizes of what a new hash consists of.
const (
	saltSize = 16
	keySize  = 32
)

// Argon2id are the costs of a hash.
type Argon2id struct {
	// Memory is in KiB.
	Memory uint32
	// Time is the number of passes over the memory.
	Time uint32
	// Threads is how many work at a time.
	Threads uint8
}

// defaultCosts are those that OWASP recommends: some 20 ms and 19 MiB a login.
var defaultCosts = Argon2id{Memory: 19 << 10, Time: 2, Threads: 1}

// Bounds of the costs of a stored hash, so that one that somebody broke cannot
// use up the machine.
const (
	maxMemory  = 256 << 10
	maxTime    = 64
	maxThreads = 16
)

func (c Argon2id) valid() bool {
	return c.Time >= 1 && c.Time <= maxTime && c.Threads >= 1 && c.Threads <= maxThreads &&
		c.Memory >= 8*uint32(c.Threads) && c.Memory <= maxMemory
}

// hashed is a hash with what it was made of, as in a PHC string.
type hashed struct {
	costs     Argon2id
	salt, key []byte
}

var base64Strict = base64.RawStdEncoding.Strict()

func (h hashed) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.costs.Memory, h.costs.Time, h.costs.Threads,
		base64Strict.EncodeToString(h.salt), base64Strict.EncodeToString(h.key))
}

// errBadHash does not say what is stored.
var errBadHash = errors.New("the stored hash of the password is not readable")

// parseHash reads a PHC string of argon2id. It takes nothing that it would write
// otherwise.
func parseHash(text string) (hashed, error) {
	parts := strings.Split(text, "$")
	if len(text) > 512 || len(parts) != 6 {
		return hashed{}, errBadHash
	}
	var h hashed
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return hashed{}, errBadHash
	}
	for i, number := range []struct {
		prefix string
		bits   int
		set    func(uint64)
	}{
		{"m=", 32, func(n uint64) { h.costs.Memory = uint32(n) }}, //nolint:gosec // parsed with 32 bits
		{"t=", 32, func(n uint64) { h.costs.Time = uint32(n) }},   //nolint:gosec // parsed with 32 bits
		{"p=", 8, func(n uint64) { h.costs.Threads = uint8(n) }},  //nolint:gosec // parsed with 8 bits
	} {
		n, err := strconv.ParseUint(strings.TrimPrefix(costs[i], number.prefix), 10, number.bits)
		if err != nil {
			return hashed{}, errBadHash
		}
		number.set(n)
	}
	var errSalt, errKey error
	h.salt, errSalt = base64Strict.DecodeString(parts[4])
	h.key, errKey = base64Strict.DecodeString(parts[5])
	if errSalt != nil || errKey != nil || !h.costs.valid() || len(h.salt) < 8 || len(h.key) < 16 || h.String() != text {
		return hashed{}, errBadHash
	}
	return h, nil
}

func (h hashed) of(password string) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.costs.Time, h.costs.Memory, h.costs.Threads, uint32(len(h.key))) //nolint:gosec // at most 512
}

// hasher makes and checks hashes, a few at a time: each needs much memory.
type hasher struct {
	costs Argon2id
	slots chan struct{}
	// nobody is what a password is compared with that is nobody's, for as long
	// as with anybody's.
	nobody hashed
}

func newHasher(costs Argon2id, atATime int) *hasher {
	nobody := hashed{costs: costs, salt: random(saltSize), key: random(keySize)}
	return &hasher{costs: costs, slots: make(chan struct{}, atATime), nobody: nobody}
}

// random gives bytes that nobody can guess.
func random(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b) // it never fails
	return b
}

func (h *hasher) compute(ctx context.Context, of hashed, password string) ([]byte, error) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
		return of.of(password), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to check a password: %w", ctx.Err())
	}
}

// hash makes a new hash of a password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	made := hashed{costs: h.costs, salt: random(saltSize), key: make([]byte, keySize)}
	key, err := h.compute(ctx, made, password)
	if err != nil {
		return "", err
	}
	made.key = key
	return made.String(), nil
}

// verify compares a password with a stored hash. Without one, or with one that is
// not readable, it takes the time of a comparison and fails. outdated says that
// the hash was made with other costs than new ones.
func (h *hasher) verify(ctx context.Context, stored, password string) (ok, outdated bool, err error) {
	with, readable := h.nobody, false
	if parsed, err := parseHash(stored); err == nil {
		with, readable = parsed, true
	}
	key, err := h.compute(ctx, with, password)
	if err != nil {
		return false, false, err
	}
	same := subtle.ConstantTimeCompare(key, with.key) == 1
	return same && readable, with.costs != h.costs || len(with.salt) != saltSize || len(with.key) != keySize, nil
}

func checkPassword(password string) error {
	switch {
	case len(password) < minPassword:
		return ErrWeakPassword
	case len(password) > maxPassword:
		return ErrLongPassword
	}
	return nil
}
