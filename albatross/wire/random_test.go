package wire_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// commands has one of every type.
var commands = []wire.Command{
	wire.UnikernelInfo{}, wire.OldUnikernelInfo4{}, wire.OldUnikernelInfo5{}, wire.UnikernelGet{}, wire.UnikernelCreate{},
	wire.UnikernelForceCreate{}, wire.UnikernelRestart{}, wire.UnikernelDestroy{}, wire.PolicyInfo{}, wire.PolicyAdd{}, wire.PolicyRemove{},
	wire.BlockList{}, wire.BlockAdd{}, wire.BlockRemove{}, wire.BlockSet{}, wire.BlockDump{}, wire.OldBlockAdd{}, wire.OldBlockSet{},
	wire.OldBlockDump{}, wire.ConsoleAdd{}, wire.ConsoleSubscribe{}, wire.ConsoleListInactive{}, wire.StatsAdd{}, wire.StatsRemove{},
	wire.StatsSubscribe{}, wire.StatsInitial{},
}

// payloads has one of every type but requests, which are commands.
var payloads = []wire.Payload{
	wire.Empty{}, wire.Text{}, wire.Failure{}, wire.Policies{}, wire.BlockDevices{}, wire.UnikernelImage{}, wire.OldBlockDeviceImage{},
	wire.BlockDeviceImage{}, wire.Consoles{}, wire.UnikernelInfos{}, wire.ConsoleLine{}, wire.BlockData{}, wire.BlockDataEnd{}, wire.Stats{},
}

const (
	maxInt = 1<<62 - 1
	minInt = -1 << 62
)

// random fills values by their types, so that a field which is added later and
// forgotten by the codec is found. What it makes is in normal form: as it is
// decoded, but for the order of devices.
type random struct {
	*rand.Rand
	// all has nothing left out: every pointer is set and no list is empty.
	all bool
}

func newRandom(seed uint64) random { return random{Rand: rand.New(rand.NewPCG(seed, 2))} }

// wide are types whose integers have 64 bits on the wire, with these exceptions.
var (
	wide   = []any{wire.Usage{}, wire.ProcessMemory{}, wire.Timeval{}, wire.VMMCounter{}, wire.InterfaceStats{}}
	narrow = []string{"Microseconds", "CopyOnWriteFaults"}
)

// sets are fields that the codec sorts and that are never nil.
var sets = []string{"CPUIDs", "wire.Policy.Bridges"}

func (r random) command(kind wire.Command) wire.Command { return r.value(kind).(wire.Command) }
func (r random) payload(kind wire.Payload) wire.Payload { return r.value(kind).(wire.Payload) }

func (r random) value(kind any) any {
	v := reflect.New(reflect.TypeOf(kind)).Elem()
	r.fill(v, "", maxInt)
	return v.Interface()
}

func (r random) fill(v reflect.Value, field string, limit int64) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(r.time()))
		return
	case wire.Name:
		v.Set(reflect.ValueOf(r.name()))
		return
	case wire.Type:
		v.SetUint(r.Uint64N(2))
		return
	case wire.InfoForm:
		v.Set(reflect.ValueOf([]wire.InfoForm{wire.InfoForm4, wire.InfoForm5, wire.InfoCurrent}[r.IntN(3)]))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int64:
		v.SetInt(r.integer(limit))
	case reflect.Int32:
		v.SetInt(int64(int32(r.Uint32())))
	case reflect.Uint8:
		v.SetUint(r.Uint64N(256))
	case reflect.String:
		v.SetString(r.text())
	case reflect.Pointer:
		if r.all || r.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			r.fill(v.Elem(), field, limit)
		}
	case reflect.Slice:
		r.list(v, field, limit)
	case reflect.Array:
		for i := range v.Len() {
			r.fill(v.Index(i), field, limit)
		}
	case reflect.Struct:
		r.structure(v, limit)
	default:
		panic("no random " + v.Type().String())
	}
}

func (r random) structure(v reflect.Value, limit int64) {
	if slices.ContainsFunc(wide, func(w any) bool { return v.Type() == reflect.TypeOf(w) }) {
		limit = -1
	}
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if slices.Contains(narrow, name) {
			limit = maxInt
		}
		r.fill(v.Field(i), v.Type().String()+"."+name, limit)
	}
	normalise(v)
}

// normalise takes out what a type has no place for on the wire.
func normalise(v reflect.Value) {
	switch s := v.Addr().Interface().(type) {
	case *wire.FailBehaviour:
		slices.Sort(s.ExitCodes)
		if s.ExitCodes = slices.Compact(s.ExitCodes); !s.Restart || len(s.ExitCodes) == 0 {
			s.ExitCodes = nil
		}
	case *wire.ConsoleSubscribe:
		if s.Since != nil {
			s.Count = 0
		}
	case *wire.UnikernelInfos:
		for i := range s.Infos {
			normaliseInfo(s.Form, &s.Infos[i].Info)
		}
	}
}

func normaliseInfo(form wire.InfoForm, i *wire.Info) {
	if form == wire.InfoCurrent {
		return
	}
	i.NumCPUs, i.LinuxBootPartition, i.CPUIDs = 1, nil, []int64{i.Memory}
	if form == wire.InfoForm4 {
		i.Startup = nil
	}
}

func (r random) list(v reflect.Value, field string, limit int64) {
	n := r.IntN(4)
	if r.all {
		n = 2
	}
	isSet := slices.ContainsFunc(sets, func(s string) bool { return strings.HasSuffix(field, s) })
	isBytes := v.Type().Elem().Kind() == reflect.Uint8
	if n == 0 && !isSet && !isBytes {
		return // as nothing is what lists of no elements are decoded to
	}
	if isBytes {
		n = r.IntN(300)
	}
	made := reflect.MakeSlice(v.Type(), n, n)
	for i := range n {
		r.fill(made.Index(i), field, limit)
	}
	v.Set(made)
	if !isSet {
		return
	}
	switch set := v.Addr().Interface().(type) {
	case *[]int64:
		slices.Sort(*set)
		*set = slices.Compact(*set)
	case *[]string:
		slices.Sort(*set)
		*set = slices.Compact(*set)
	}
}

// integer likes the edges of lengths and of the range.
func (r random) integer(limit int64) int64 {
	edges := []int64{0, 1, -1, 127, 128, -128, -129, 255, 256, 32767, 32768, 1 << 31, -1 << 31, maxInt, minInt, maxInt - 1, minInt + 1}
	switch r.IntN(3) {
	case 0:
		return edges[r.IntN(len(edges))]
	case 1:
		return r.Int64N(1000)
	}
	v := int64(r.Uint64())
	if limit > 0 {
		v >>= 1
	}
	return v
}

// text is any bytes, also such as are no UTF-8, and of each length of a length.
func (r random) text() string {
	b := make([]byte, []int{0, 1, 5, 127, 128, 255, 256}[r.IntN(7)])
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

func (r random) time() time.Time {
	switch r.IntN(4) {
	case 0:
		return time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	case 1:
		return time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)
	case 2:
		return time.Unix(r.Int64N(1<<32), 0).UTC()
	}
	return time.UnixMilli(r.Int64N(1 << 42)).UTC()
}

func (r random) name() wire.Name {
	label := func() string {
		const first, rest = "abcdefghijklmnopqrstuvwxyz0123456789.", "abcdefghijklmnopqrstuvwxyz0123456789-."
		b := []byte{first[r.IntN(len(first))]}
		for range []int{0, 4, wire.MaxLabelLength - 1}[r.IntN(3)] {
			b = append(b, rest[r.IntN(len(rest))])
		}
		return string(b)
	}
	var n wire.Name
	for range r.IntN(4) {
		n.Path = append(n.Path, label())
	}
	if r.IntN(2) == 0 {
		n.Path, n.Label = append(wire.Path{}, n.Path...), label()
	}
	return n
}

// ordered gives the value with all lists of devices in one order.
func ordered(t *testing.T, value any) any {
	t.Helper()
	v := reflect.New(reflect.TypeOf(value)).Elem()
	v.Set(reflect.ValueOf(value))
	orderDevices(t, v)
	return v.Interface()
}

func orderDevices(t *testing.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			orderDevices(t, v.Elem())
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			orderDevices(t, v.Field(i))
		}
	case reflect.Slice:
		sortDevices(t, v.Addr().Interface())
		for i := range v.Len() {
			orderDevices(t, v.Index(i))
		}
	}
}

func sortDevices(t *testing.T, list any) {
	switch all := list.(type) {
	case *[]wire.BlockDevice:
		sortByText(t, *all)
	case *[]wire.Bridge:
		sortByText(t, *all)
	case *[]wire.BlockInfo:
		sortByText(t, *all)
	case *[]wire.BridgeInfo:
		sortByText(t, *all)
	}
}

func sortByText[T any](t *testing.T, all []T) {
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(canonical(t, a), canonical(t, b)) })
}

// same demands that what was decoded is what was encoded, nil and empty told apart.
func same(t *testing.T, got, want any) {
	t.Helper()
	if got, want = ordered(t, got), ordered(t, want); !reflect.DeepEqual(got, want) {
		t.Fatalf("decoded: %.2000s\n   want: %.2000s\n(if these are equal, nil and empty differ)", canonical(t, got), canonical(t, want))
	}
}

const rounds = 200

// TestEveryCommandComesBack encodes random values of every type of command, in an
// extension and in a frame.
func TestEveryCommandComesBack(t *testing.T) {
	for seed, kind := range commands {
		t.Run(fmt.Sprintf("%T", kind), func(t *testing.T) {
			r := newRandom(uint64(seed))
			for range rounds {
				command := r.command(kind)
				der := encoded(t, command)
				got, err := wire.DecodeExtension(der)
				if err != nil {
					t.Fatalf("%.2000x: %v", der, err)
				}
				same(t, got, command)
				checkFrame(t, wire.Frame{Sequence: r.integer(-1), Name: r.name(), Payload: wire.Request{Command: command}})
			}
		})
	}
}

// TestEveryPayloadComesBack does the same with every type of reply and data.
func TestEveryPayloadComesBack(t *testing.T) {
	for seed, kind := range payloads {
		t.Run(fmt.Sprintf("%T", kind), func(t *testing.T) {
			r := newRandom(uint64(seed))
			for range rounds {
				checkFrame(t, wire.Frame{Sequence: r.integer(-1), Name: r.name(), Payload: r.payload(kind)})
			}
		})
	}
}

func encoded(t *testing.T, c wire.Command) []byte {
	t.Helper()
	der, err := wire.EncodeExtension(c)
	if err != nil {
		t.Fatalf("%T: %v", c, err)
	}
	return der
}

func framed(t *testing.T, f wire.Frame) []byte {
	t.Helper()
	der, err := wire.EncodeFrame(f)
	if err != nil {
		t.Fatalf("%T: %v", f.Payload, err)
	}
	return der
}

func checkFrame(t *testing.T, f wire.Frame) {
	t.Helper()
	der := framed(t, f)
	got, err := wire.DecodeFrame(der)
	if err != nil {
		t.Fatalf("%.2000x: %v", der, err)
	}
	if got.Sequence != f.Sequence || !got.Name.Equal(f.Name) {
		t.Fatalf("header %d %s, want %d %s", got.Sequence, got.Name, f.Sequence, f.Name)
	}
	if want, ok := f.Payload.(wire.Request); ok {
		same(t, got.Payload.(wire.Request).Command, want.Command)
		return
	}
	same(t, got.Payload, f.Payload)
}

// TestSetsHaveOneEncoding shuffles what is a set on the wire, and repeats members
// where a set is one of integers or names: the bytes do not change.
func TestSetsHaveOneEncoding(t *testing.T) {
	r := newRandom(7)
	r.all = true
	for range rounds {
		config := r.command(wire.UnikernelCreate{}).(wire.UnikernelCreate).Config
		shuffled := config
		shuffled.Arguments = config.Clone()
		shuffled.CPUIDs = append(shuffled.CPUIDs, shuffled.CPUIDs...)
		shuffle(r, shuffled.CPUIDs)
		shuffle(r, shuffled.FailBehaviour.ExitCodes)
		shuffle(r, shuffled.Blocks)
		shuffle(r, shuffled.Bridges)
		if a, b := encoded(t, wire.UnikernelCreate{Config: config}), encoded(t, wire.UnikernelCreate{Config: shuffled}); !bytes.Equal(a, b) {
			t.Fatalf("%x\n%x", a, b)
		}
		policy := r.command(wire.PolicyAdd{}).(wire.PolicyAdd).Policy
		other := policy
		other.CPUIDs, other.Bridges = slices.Repeat(policy.CPUIDs, 2), slices.Repeat(policy.Bridges, 3)
		shuffle(r, other.CPUIDs)
		shuffle(r, other.Bridges)
		if a, b := encoded(t, wire.PolicyAdd{Policy: policy}), encoded(t, wire.PolicyAdd{Policy: other}); !bytes.Equal(a, b) || !policy.Equal(other) {
			t.Fatalf("%x\n%x", a, b)
		}
	}
}

func shuffle[T any](r random, list []T) {
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
}

// TestSetsAreSortedByTheirBytes has the order of DER: shorter elements first, then
// by the content, whatever order was given.
func TestSetsAreSortedByTheirBytes(t *testing.T) {
	given := wire.UnikernelCreate{Config: wire.Config{Arguments: wire.Arguments{
		CPUIDs: []int64{256, -1, 128, 0},
		Blocks: []wire.BlockDevice{{Name: "zz"}, {Name: "b"}, {Name: "a", SectorSize: new(int64(1))}, {Name: "a"}},
	}}}
	der := encoded(t, given)
	// 0 and -1 take one byte, and -1 is the larger as a byte; 128 and 256 take two.
	if want := []byte{0x31, 0x0e, 2, 1, 0x00, 2, 1, 0xff, 2, 2, 0x00, 0x80, 2, 2, 0x01, 0x00}; !bytes.Contains(der, want) {
		t.Errorf("CPU ids in %x, want %x", der, want)
	}
	got, err := wire.DecodeExtension(der)
	if err != nil {
		t.Fatal(err)
	}
	config := got.(wire.UnikernelCreate).Config
	if !slices.Equal(config.CPUIDs, []int64{-1, 0, 128, 256}) {
		t.Errorf("CPU ids %v are not sorted by their value", config.CPUIDs)
	}
	var names []string
	for _, b := range config.Blocks {
		names = append(names, fmt.Sprint(b.Name, b.SectorSize != nil))
	}
	if want := []string{"afalse", "bfalse", "zzfalse", "atrue"}; !slices.Equal(names, want) {
		t.Errorf("devices %v, want %v", names, want)
	}
}
