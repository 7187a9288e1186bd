package wire

import (
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// addTime writes a GeneralizedTime as the original does: no fraction when it is
// zero, else exactly three digits, cut and not rounded, so that ".000" occurs.
func addTime(b *builder, t time.Time) {
	t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		b.SetError(fmt.Errorf("time: year %d has more than four digits", y))
		return
	}
	s := t.Format("20060102150405")
	if ns := t.Nanosecond(); ns != 0 {
		s += fmt.Sprintf(".%03d", ns/int(time.Millisecond))
	}
	b.AddASN1(asn1.GeneralizedTime, func(b *builder) { b.AddBytes([]byte(s + "Z")) })
}

func (d *decoder) time(what string) time.Time {
	content := d.value(asn1.GeneralizedTime, what)
	if d.failed() {
		return time.Time{}
	}
	t, err := parseTime(string(content))
	if err != nil {
		d.fail("%s: %w", what, err)
	}
	return t
}

// parseTime reads what the original reads (malformed.json, class odd-time): the
// fraction is an integer number of milliseconds (".5" is 5 ms), seconds and zone
// may be missing, an offset may stand for Z, and what cannot be read after the
// seconds is ignored.
func parseTime(s string) (time.Time, error) {
	scan := timeScanner{rest: s}
	year := scan.number(4)
	month, day := scan.number(2), scan.number(2)
	hour, minute := scan.number(2), scan.number(2)
	if scan.bad {
		return time.Time{}, fmt.Errorf("GeneralizedTime: invalid format: %q", s)
	}
	second := scan.optionalNumber(2)
	var milli int
	if scan.skip('.') {
		milli = scan.optionalNumber(3)
	}
	t := time.Date(year, time.Month(month), day, hour, minute, min(second, 59), milli*int(time.Millisecond), time.UTC)
	if t.Year() != year || int(t.Month()) != month || t.Day() != day || t.Hour() != hour || t.Minute() != minute || second > 60 {
		return time.Time{}, fmt.Errorf("GeneralizedTime: out of range: %q", s)
	}
	if second == 60 { // a leap second is the next minute's first
		t = t.Add(time.Second)
	}
	t = t.Add(-scan.offset())
	if t.Year() < 0 || t.Year() > 9999 {
		return time.Time{}, fmt.Errorf("GeneralizedTime: out of range: %q", s)
	}
	return t, nil
}

// timeScanner reads numbers of limited width from the front of a text.
type timeScanner struct {
	rest string
	bad  bool
}

// number reads up to width characters: a digit, then digits; '_' counts as a
// character and means nothing (malformed.json, m-c-time-underscore).
func (s *timeScanner) number(width int) int {
	n, i := 0, 0
	for i < width && i < len(s.rest) {
		c := s.rest[i]
		if '0' <= c && c <= '9' {
			n = n*10 + int(c-'0')
		} else if c != '_' || i == 0 {
			break
		}
		i++
	}
	s.bad = s.bad || i == 0
	s.rest = s.rest[i:]
	return n
}

func (s *timeScanner) optionalNumber(width int) int {
	n := s.number(width)
	s.bad = false
	return n
}

func (s *timeScanner) skip(c byte) bool {
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// offset reads "+hhmm" or "-hhmm" at the very end; everything else means UTC.
func (s *timeScanner) offset() time.Duration {
	sign := time.Duration(1)
	switch {
	case s.skip('+'):
	case s.skip('-'):
		sign = -1
	default:
		return 0
	}
	hours, minutes := s.number(2), s.number(2)
	if s.bad || s.rest != "" {
		return 0
	}
	return sign * (time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute)
}
