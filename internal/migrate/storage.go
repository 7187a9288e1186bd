package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"mollymawk.dev/operator/albatross"
)

// Storage is what Mollymawk has stored, as far as it is taken over. It has secrets.
type Storage struct {
	Users     []StoredUser
	Instances []StoredInstance `json:"configuration"`
}

// StoredUser is a user of Mollymawk. Its password is a hash that is too cheap to be
// kept, and its sessions are over in a week: neither is read.
type StoredUser struct {
	Name      string
	Email     string
	Active    bool
	SuperUser bool           `json:"super_user"`
	UpdatedAt storedTime     `json:"updated_at"`
	Tokens    []StoredToken  `json:"tokens"`
	Updates   []StoredUpdate `json:"unikernel_updates"`
}

// StoredToken is a bearer token.
type StoredToken struct {
	Value      string
	Name       string
	CreatedAt  storedTime `json:"created_at"`
	LastAccess storedTime `json:"last_access"`
	// ExpiresIn is in seconds from CreatedAt.
	ExpiresIn  int64 `json:"expires_in"`
	UsageCount int64 `json:"usage_count"`
}

// StoredUpdate says from which job of a build server a unikernel was updated.
type StoredUpdate struct {
	// Name is the label of the unikernel.
	Name, Job string
}

// StoredInstance is a host with the credential for it.
type StoredInstance struct {
	Name        string
	Certificate string
	PrivateKey  string `json:"private_key"`
	ServerIP    string `json:"server_ip"`
	ServerPort  int    `json:"server_port"`
}

// storedTime is a time as Mollymawk writes it: with a space, and with an offset of
// -00:00.
type storedTime struct{ time.Time }

var errNoTime = errors.New("a time is not as in 2025-12-08 17:45:30-00:00")

// UnmarshalJSON implements json.Unmarshaler.
func (t *storedTime) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return errNoTime
	}
	parsed, err := time.Parse(time.RFC3339, strings.Replace(text, " ", "T", 1))
	if err != nil {
		return errNoTime
	}
	t.Time = parsed.UTC()
	return nil
}

// The versions of the storage whose form is known. Version 9 lacks what is not read.
const (
	oldestVersion = 9
	newestVersion = 10
)

// beginning is how Mollymawk begins what it stores.
var beginning = []byte(`{"version":`)

// ParseStorage reads what Mollymawk has stored: the JSON document, or an image of
// the block device with it. Its errors show nothing of the content but positions.
func ParseStorage(content []byte) (*Storage, error) {
	document := bytes.TrimSpace(content)
	if !bytes.HasPrefix(document, []byte("{")) {
		// The block device has a header before the document and anything after it.
		at := bytes.Index(content, beginning)
		if at < 0 {
			return nil, fmt.Errorf("there is no JSON document that begins with %s", beginning)
		}
		document = content[at:]
	}
	var raw json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(document)).Decode(&raw); err != nil {
		return nil, fmt.Errorf("the JSON document is damaged: %w", err)
	}
	var head struct{ Version *int }
	if err := json.Unmarshal(raw, &head); err != nil || head.Version == nil {
		return nil, errors.New("the JSON document has no version, so it is not what Mollymawk stores")
	}
	if *head.Version < oldestVersion || *head.Version > newestVersion {
		return nil, fmt.Errorf("the document has version %d, and only %d to %d are known", *head.Version, oldestVersion, newestVersion)
	}
	var s Storage
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("the JSON document is not as Mollymawk writes it: %w", err)
	}
	return &s, s.normalize()
}

// normalize has names in lower case, as hosts have them, and refuses what has none.
func (s *Storage) normalize() error {
	for i := range s.Users {
		name, err := albatross.ParseLabel(s.Users[i].Name)
		if err != nil {
			return fmt.Errorf("users[%d] %q: %w", i, s.Users[i].Name, err)
		}
		s.Users[i].Name = name
	}
	for i := range s.Instances {
		name, err := albatross.ParseLabel(s.Instances[i].Name)
		if err != nil {
			return fmt.Errorf("configuration[%d] %q: %w", i, s.Instances[i].Name, err)
		}
		s.Instances[i].Name = name
	}
	return nil
}

// hosts gives the instances as hosts.
func (s *Storage) hosts() []Host {
	all := make([]Host, len(s.Instances))
	for i, instance := range s.Instances {
		// Mollymawk verifies a host with the certificate that it signs with.
		certificate := []byte(instance.Certificate)
		all[i] = Host{
			Name: instance.Name, Address: instance.ServerIP, Port: instance.ServerPort,
			Certificate: certificate, Key: []byte(instance.PrivateKey), ServerCA: certificate,
		}
	}
	return all
}
