package albatrosstest

import (
	"bytes"
	"cmp"
	"compress/zlib"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
)

// unikernel is one that runs.
type unikernel struct {
	name    wire.Name
	config  wire.Config // without the image
	image   *image
	macs    []wire.MAC
	started time.Time
	guest   *guest
}

// prepared is an image that was received, or why it is none.
type prepared struct {
	image *image
	err   error
}

// defaultSectorSize of a block device, in bytes.
const defaultSectorSize = 512

// launch starts a unikernel. The order of the checks shows in what is told when
// several things are wrong (limits-cpu-bridge). The caller keeps its hold of the
// image.
func (d *daemon) launch(name wire.Name, config wire.Config, image prepared) (string, error) {
	if _, runs := d.unikernels.find(name); runs {
		return "", refusal("Unikernel with same name is already running")
	}
	if err := d.check(name, config.Arguments); err != nil {
		return "", err
	}
	if image.err != nil {
		return "", image.err
	}
	if err := d.checkImage(config, image.image); err != nil {
		return "", err
	}
	if name.IsPath() && d.options.Quirks.NamelessCreate {
		d.consoleBroken = true
	}
	if name.IsPath() || d.consoleBroken {
		return "", refusal("could not create unikernel: console failed")
	}
	u := &unikernel{name: name, config: config, image: image.image, started: d.options.Now()}
	u.config.Image = nil
	if err := d.state.saveUnikernel(u); err != nil {
		return "", err
	}
	d.images.use(u.image)
	d.unikernels.put(labels(name), u)
	d.attach(u, true)
	d.run(u)
	d.registerRestart(u)
	if u.guest == nil { // limits-cpu-bridge, step 6: it is gone before anybody could look
		d.gone(u, exit{code: 1})
	}
	return "created unikernel", nil
}

func (d *daemon) run(u *unikernel) {
	s := start{image: u.image, memory: u.config.Memory, cpuIDs: u.config.CPUIDs, cpus: d.options.CPUs, argv: u.config.Argv}
	if u.config.AddName {
		s.argv = append([]string{"--name=" + u.name.Label}, s.argv...)
	}
	for _, bridge := range u.config.Bridges {
		mac := wire.DeriveMAC(u.name, bridge.Name)
		if bridge.MAC != nil {
			mac = *bridge.MAC
		}
		u.macs = append(u.macs, mac)
		s.bridges = append(s.bridges, bridge.Name)
	}
	s.macs = u.macs
	d.consoles.open(u.name)
	u.guest = run(d.timers, s, func(line string) { d.consoles.print(u.name, line) }, func(e exit) { d.ended(u, e) })
}

// check tells why a unikernel may not run beside what runs: policy first, then
// block devices.
func (d *daemon) check(name wire.Name, a wire.Arguments) error {
	if err := d.checkPolicy(name.Path, a); err != nil {
		return err
	}
	for _, device := range a.Blocks {
		at := wire.Name{Path: name.Path, Label: device.Host()}
		b, ok := d.blocks.find(at)
		if !ok {
			return refuse("block device %s not found", at)
		}
		if b.active {
			return refuse("block device %s already in use", at)
		}
	}
	return nil
}

// The ABI version of the tenders that the simulated host has.
const tenderABI = 2

func (d *daemon) checkImage(config wire.Config, image *image) error {
	if config.Type != wire.Solo5 {
		return refusal("couldn't find initial block device")
	}
	if image.damage != nil {
		return image.damage
	}
	manifest := image.manifest
	if manifest.Target != solo5.HVT && manifest.Target != solo5.SPT {
		return refuse("unsupported solo5 target %s", manifest.Target)
	}
	if manifest.ABIVersion != tenderABI {
		return refuse("unexpected solo5 tender --version output, expected one line with 'ABI version %d', got solo5-%s v0.12.1\nABI version %d",
			manifest.ABIVersion, manifest.Target, tenderABI)
	}
	if err := checkManifest(config.Arguments, manifest); err != nil {
		return err
	}
	for _, bridge := range hostBridges(config.Arguments) {
		if !slices.Contains(d.options.Bridges, bridge) {
			return refuse("interface %s does not exist", bridge)
		}
	}
	return nil
}

// checkManifest compares sets of names, so that a device given twice passes
// (manifest-duplicate-device). The two texts differ by an article.
func checkManifest(a wire.Arguments, manifest solo5.Image) error {
	var blocks, bridges []string
	for _, b := range a.Blocks {
		blocks = append(blocks, b.Name)
	}
	for _, b := range a.Bridges {
		bridges = append(bridges, b.Name)
	}
	if !slices.Equal(sorted(blocks), sorted(manifest.Names(solo5.Block))) {
		return refuse("specified block device(s) does not match with manifest. Devices present in manifest: %s", manifest.DeviceList())
	}
	if !slices.Equal(sorted(bridges), sorted(manifest.Names(solo5.Network))) {
		return refuse("specified bridge(s) does not match with the manifest. Devices present in manifest: %s", manifest.DeviceList())
	}
	return nil
}

// attach marks the unikernel's block devices as in use, or not.
func (d *daemon) attach(u *unikernel, active bool) {
	for _, device := range u.config.Blocks {
		if b, ok := d.blocks.find(wire.Name{Path: u.name.Path, Label: device.Host()}); ok {
			b.active = active
		}
	}
}

// without gives what check says as if the unikernel did not run.
func (d *daemon) without(u *unikernel, check func() error) error {
	d.unikernels.remove(labels(u.name))
	d.attach(u, false)
	err := check()
	d.attach(u, true)
	d.unikernels.put(labels(u.name), u)
	return err
}

// registerRestart has the fail behaviour told about the unikernel's end.
func (d *daemon) registerRestart(u *unikernel) {
	key := u.name.String()
	if !u.config.FailBehaviour.Restart && !u.config.AddName || d.waiters[key] != nil {
		return
	}
	d.waiters[key] = &waiter{ended: func(e exit) {
		if !d.mayRestart(key) || e.signal {
			return
		}
		again := u.config
		if e.code == 64 && again.AddName { // perhaps it does not know the argument that was added
			again.AddName = false
		} else if !restarts(again.FailBehaviour, e.code) {
			return
		}
		if _, err := d.launch(u.name, again, prepared{image: u.image}); err != nil {
			d.options.Log.Warn("restart failed", "name", key, "error", err)
		}
	}}
}

// restarts tells what the fail behaviour makes of an exit code (exit-*).
func restarts(f wire.FailBehaviour, code int) bool {
	if !f.Restart || code == 1 || 60 <= code && code <= 64 {
		return false
	}
	return len(f.ExitCodes) == 0 || slices.Contains(f.ExitCodes, int64(code))
}

// ended is called when a unikernel is no more.
func (d *daemon) ended(u *unikernel, e exit) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closing {
		d.gone(u, e)
	}
}

// gone forgets a unikernel and tells who waited for its end.
func (d *daemon) gone(u *unikernel, e exit) {
	d.unikernels.remove(labels(u.name))
	d.attach(u, false)
	d.consoles.close(u.name)
	if err := d.state.removeUnikernel(u.name); err != nil {
		d.options.Log.Error("forget unikernel", "name", u.name, "error", err)
	}
	defer d.images.release(u.image)
	key := u.name.String()
	if w := d.waiters[key]; w != nil {
		delete(d.waiters, key)
		d.restarting[key] = true
		w.ended(e)
	}
}

func (d *daemon) forceCreate(name wire.Name, config wire.Config, image prepared, answer chan<- result) (wire.Payload, error) {
	old, runs := d.unikernels.find(name)
	if !runs {
		if err := d.check(name, config.Arguments); err != nil {
			return nil, err
		}
		_, _ = d.stopRestart(name.String()) // there need not be anything to stop
		return text(d.launch(name, config, image))
	}
	if err := d.without(old, func() error { return d.check(name, config.Arguments) }); err != nil {
		return nil, err
	}
	d.replace(old, config, image, answer)
	return nil, nil //nolint:nilnil // the answer comes later
}

// restart checks the old configuration against the policy and the new devices
// against the manifest; all else shows when the old unikernel is gone already
// (restart-arguments-refused, restart-arguments-cpu).
func (d *daemon) restart(name wire.Name, a *wire.Arguments, answer chan<- result) (wire.Payload, error) {
	old, runs := d.unikernels.find(name)
	if !runs {
		return text(d.stopRestart(name.String()))
	}
	if err := d.without(old, func() error { return d.check(name, old.config.Arguments) }); err != nil {
		return nil, err
	}
	config := old.config
	if a != nil {
		config.Arguments = a.Clone()
	}
	if err := checkManifest(config.Arguments, old.image.manifest); err != nil {
		return nil, err
	}
	d.replace(old, config, prepared{image: old.image}, answer)
	return nil, nil //nolint:nilnil // the answer comes later
}

// replace ends a unikernel and starts another as soon as it has ended. The image
// is held until then, even if the client does not wait.
func (d *daemon) replace(old *unikernel, config wire.Config, image prepared, answer chan<- result) {
	if image.image != nil {
		d.images.use(image.image)
	}
	d.register(old.name.String(), &waiter{command: true, ended: func(exit) {
		payload, err := text(d.launch(old.name, config, image))
		if image.image != nil {
			d.images.release(image.image)
		}
		answer <- result{payload, err}
	}})
	old.guest.terminate(d.options.StopTime)
}

func (d *daemon) destroy(name wire.Name, answer chan<- result) (wire.Payload, error) {
	u, runs := d.unikernels.find(name)
	if !runs {
		return text(d.stopRestart(name.String()))
	}
	d.register(name.String(), &waiter{command: true, ended: func(exit) {
		answer <- result{payload: wire.Text{Text: "destroyed unikernel"}}
	}})
	u.guest.terminate(d.options.StopTime)
	return nil, nil //nolint:nilnil // the answer comes later
}

// unikernelInfo answers about all below a path, or about one with its full name.
func (d *daemon) unikernelInfo(name wire.Name, form wire.InfoForm) (wire.Payload, error) {
	var infos []wire.NamedInfo
	if name.IsPath() {
		for _, m := range d.unikernels.below(name.Path) {
			infos = append(infos, wire.NamedInfo{Name: m.name(), Info: d.info(m.value)})
		}
	} else if u, ok := d.unikernels.find(name); ok {
		infos = append(infos, wire.NamedInfo{Name: name, Info: d.info(u)})
	}
	if form != wire.InfoCurrent {
		several := func(i wire.NamedInfo) bool { return len(i.Info.CPUIDs) != 1 }
		if slices.ContainsFunc(infos, several) {
			d.dead = d.options.Quirks.OldInfoCrash
			return nil, errNoAnswer
		}
	}
	return wire.UnikernelInfos{Form: form, Infos: infos}, nil
}

func (d *daemon) info(u *unikernel) wire.Info {
	c := u.config
	i := wire.Info{
		Type: c.Type, FailBehaviour: c.FailBehaviour, Startup: c.Startup, CPUIDs: c.CPUIDs, Memory: c.Memory, Argv: c.Argv,
		Digest: u.image.digest, Started: u.started, NumCPUs: c.NumCPUs, LinuxBootPartition: c.LinuxBootPartition,
	}
	for _, device := range c.Blocks {
		b := wire.BlockInfo{Device: device.Name, HostDevice: device.Host(), SectorSize: defaultSectorSize}
		if device.SectorSize != nil {
			b.SectorSize = *device.SectorSize
		}
		if kept, ok := d.blocks.find(wire.Name{Path: u.name.Path, Label: b.HostDevice}); ok {
			b.Size = kept.size
		}
		i.Blocks = append(i.Blocks, b)
	}
	for n, device := range c.Bridges {
		i.Bridges = append(i.Bridges, wire.BridgeInfo{Device: device.Name, HostDevice: device.Host(), MAC: u.macs[n]})
	}
	return i
}

func (d *daemon) unikernelGet(name wire.Name, level int64) (wire.Payload, error) {
	var found *image
	_, err := d.locked(func() (wire.Payload, error) {
		u, ok := d.unikernels.find(name)
		if !ok {
			return nil, refusal("get: no unikernel found")
		}
		found = u.image
		d.images.use(found)
		return nil, nil //nolint:nilnil // nothing but the image is wanted
	})
	if err != nil {
		return nil, err
	}
	defer d.images.release(found)
	data, err := os.ReadFile(found.path)
	if err != nil {
		return nil, fmt.Errorf("kept image: %w", err)
	}
	if level == 0 {
		return wire.UnikernelImage{Image: data}, nil
	}
	return wire.UnikernelImage{Compressed: true, Image: deflate(data, level)}, nil
}

// deflate gives a zlib stream; levels that do not exist are taken for the nearest.
func deflate(data []byte, level int64) []byte {
	var out bytes.Buffer
	w, err := zlib.NewWriterLevel(&out, int(min(max(level, 1), 9)))
	if err != nil {
		panic("level " + strconv.FormatInt(level, 10) + " is between 1 and 9: " + err.Error())
	}
	_, _ = w.Write(data) // a Buffer takes everything
	_ = w.Close()
	return out.Bytes()
}

// defaultStartup is the priority of a unikernel that was given none.
const defaultStartup = 50

// startKept starts the unikernels that ran when an earlier host ended, in the
// order of their priority.
func (d *daemon) startKept() error {
	kept, err := d.state.loadUnikernels(d.images)
	if err != nil {
		return err
	}
	priority := func(u *unikernel) int64 {
		if u.config.Startup == nil {
			return defaultStartup
		}
		return *u.config.Startup
	}
	slices.SortStableFunc(kept, func(a, b *unikernel) int { return cmp.Compare(priority(a), priority(b)) })
	for _, u := range kept {
		if _, err := d.launch(u.name, u.config, prepared{image: u.image}); err != nil {
			d.options.Log.Warn("unikernel is not started again", "name", u.name, "error", err)
			_ = d.state.removeUnikernel(u.name) // it would be refused again next time
		}
		d.images.release(u.image)
	}
	return nil
}
