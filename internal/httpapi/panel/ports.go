package panel

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// mapping is a port that others are told of and the unikernel's own.
type mapping struct{ external, internal int }

var errPorts = errors.New("not a list of ports")

// parsePorts reads "8080:80,443:443": external ports and those of the unikernel. A
// port alone is both. An external port is there once only.
func parsePorts(text string) (all []mapping, err error) {
	known := map[int]bool{}
	for part := range strings.SplitSeq(text, ",") {
		external, internal, both := strings.Cut(part, ":")
		if !both {
			internal = external
		}
		m := mapping{port(external), port(internal)}
		if m.external == 0 || m.internal == 0 || known[m.external] {
			return nil, errPorts
		}
		known[m.external] = true
		all = append(all, m)
	}
	return all, nil
}

// port gives the number of a port, or 0.
func port(text string) int {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < 1 || n > math.MaxUint16 {
		return 0
	}
	return n
}

// primary gives the mapping of the port that people are shown: of the external
// ports, or else the unikernel's own; by default the first. One that is in no
// mapping is both.
func primary(all []mapping, text string) (mapping, error) {
	if strings.TrimSpace(text) == "" {
		return all[0], nil
	}
	wanted := port(text)
	if wanted == 0 {
		return mapping{}, errPorts
	}
	for _, m := range all {
		if m.external == wanted {
			return m, nil
		}
	}
	for _, m := range all {
		if m.internal == wanted {
			return m, nil
		}
	}
	return mapping{wanted, wanted}, nil
}
