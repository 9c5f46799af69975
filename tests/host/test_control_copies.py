"""ControlNets of other packs: a copy for each batch of windows that stands on its own, or a refusal by class name."""

import functools
import weakref
from collections import OrderedDict, deque
from typing import NamedTuple

import pytest
import torch
from comfy.controlnet import ControlBase, ControlNet

RAMP = torch.linspace(0, 1, 192).expand(1, 3, 64, 192)
WIDTH = 64  # pixels of a window; five of them, half overlapping


class Seeing(ControlBase):
    """Notes the ends of what it is shown, and adds nothing."""

    def __init__(self):
        super().__init__()
        self.shown = []
        self.set_cond_hint(RAMP)

    def see(self, x, hint):
        for row in hint[: len(hint)]:
            self.shown.append((round(float(row[..., 0].mean()), 2), round(float(row[..., -1].mean()), 2)))

    def get_control(self, x, t, cond, batched, options):
        self.see(x, self.cond_hint_original)

    def copy(self):
        raise AssertionError("windows do not need the control's own copy()")


class BindsItself(Seeing):
    """As Advanced-ControlNet: the constructor puts a method of its own in the place of the host's."""

    def __init__(self):
        super().__init__()
        self.get_control = self.inject

    def inject(self, *args):
        return Seeing.get_control(self, *args)


class KeepsSuper(Seeing):
    """As Advanced-ControlNet too: what was there before is called through a ``super()`` that it keeps."""

    def __init__(self):
        super().__init__()
        self.base = super()
        self.get_control = self.inject

    def inject(self, *args):
        return self.base.get_control(*args)


class Partial(Seeing):
    def __init__(self):
        super().__init__()
        self.get_control = functools.partial(Seeing.get_control, self)


class Closure(Seeing):
    def __init__(self):
        super().__init__()
        self.get_control = lambda *args: Seeing.get_control(self, *args)


class Weak(Seeing):
    def __init__(self):
        super().__init__()
        owner = self.owner = weakref.ref(self)
        self.hooks = {"get": [owner]}
        self.get_control = lambda *args: Seeing.get_control(self.hooks["get"][0](), *args)


class Helper:
    def __init__(self, owner):
        self.owner = owner

    def run(self, *args):
        return Seeing.get_control(self.owner, *args)


class HasHelper(Seeing):
    def __init__(self):
        super().__init__()
        self.helper = Helper(self)
        self.calls = [self.helper.run]

    def get_control(self, *args):
        return self.calls[0](*args)


class AroundAnother(ControlBase):
    """Has no hint of its own, and passes everything on to a control that it keeps."""

    def __init__(self):
        super().__init__()
        self.inner = [Seeing()]
        self.inner[0].owner = self

    @property
    def shown(self):
        return self.inner[0].shown

    def get_control(self, *args):
        return self.inner[0].get_control(*args)

    def pre_run(self, model, percent_to_timestep):
        pass


class Default(Seeing):
    """A function that has its owner as a default."""

    def __init__(self):
        super().__init__()
        self.get_control = lambda x, t, cond, batched, options, owner=self: owner.see(x, owner.cond_hint_original)


class Keyword(Seeing):
    def __init__(self):
        super().__init__()

        def run(*args, owner=self):
            return Seeing.get_control(owner, *args)

        self.get_control = run


class Wrapped(Seeing):
    """A decorated method: what it calls is an attribute of the function around it, which knows itself."""

    def __init__(self):
        super().__init__()

        @functools.wraps(self.inject)
        def run(*args):
            return run.__wrapped__(*args)

        self.get_control = run

    def inject(self, *args):
        return Seeing.get_control(self, *args)


class WeakMethod(Seeing):
    def __init__(self):
        super().__init__()
        self.method = weakref.WeakMethod(self.inject)
        self.get_control = lambda *args: self.method()(*args)

    def inject(self, *args):
        return Seeing.get_control(self, *args)


class Deep(Seeing):
    """Keeps its method far down, in collections that are no plain lists and dictionaries."""

    def __init__(self):
        super().__init__()
        self.calls = {"a": deque([OrderedDict(b=Pair({"c": [functools.partial(Seeing.get_control, self)]}, None))])}

    def get_control(self, *args):
        return self.calls["a"][0]["b"].first["c"][0](*args)


class Pair(NamedTuple):
    first: object
    second: object


class OwnCopies(Seeing):
    """Copies itself by the host's rule, which drops the control before it."""

    def __init__(self):
        super().__init__()
        self.previous_controlnet = Seeing()
        self.previous_controlnet.shown = self.shown

    def __copy__(self):
        twin = OwnCopies()
        twin.previous_controlnet = None
        return twin

    def get_control(self, x, *args):
        return self.previous_controlnet.get_control(x, *args)


class Delegating:
    """No control of the host's: everything that it is asked, another one answers."""

    def __init__(self):
        self.inner = Seeing()

    def __getattr__(self, name):
        return getattr(self.inner, name)


class AroundMany(AroundAnother):
    def __init__(self):
        super().__init__()
        self.inner = deque(self.inner)


MAKES = (BindsItself, KeepsSuper, Partial, Closure, Weak, HasHelper, AroundAnother)
MAKES += (Default, Keyword, Wrapped, WeakMethod, Deep, OwnCopies, Delegating, AroundMany)


@pytest.fixture
def with_control(small):
    return lambda control: small.conditioning(1, control=control, control_apply_to_uncond=True)


@pytest.mark.parametrize("how", ["sampler", "custom", "apply windows"])
@pytest.mark.parametrize("make", MAKES)
def test_each_window_is_shown_its_own_slice(make, how, windowed, with_control, models, small):
    control = make()
    before = {name: value for name, value in vars(control).items() if name != "shown"}
    windowed(how, models["eps"], with_control(control), small.conditioning(2))
    expected = [(round(left / 191, 2), round((left + WIDTH - 1) / 191, 2)) for left in range(0, 192 - WIDTH + 1, 32)]
    assert sorted(set(control.shown)) == expected
    assert not [name for name, value in before.items() if vars(control)[name] is not value and name != "timestep_range"]


class Slotted:
    __slots__ = ("owner",)

    def __init__(self, owner):
        self.owner = owner


class Opaque(Seeing):
    def __init__(self):
        super().__init__()
        self.handle = Slotted(self)


def test_what_cannot_be_followed_is_refused_by_class_name(windowed, with_control, models, small):
    with pytest.raises(ValueError, match="conditioning: Opaque keeps itself in 'handle'"):
        windowed("sampler", models["eps"], with_control(Opaque()), small.conditioning(2))


class Generated(Seeing):
    """Has a class of its own, made with a method that knows it."""

    def __init__(self):
        super().__init__()
        self.__class__ = type("Made", (Generated,), {"get_control": lambda _, *args: Seeing.get_control(self, *args)})


class Iterated(Seeing):
    def __init__(self):
        super().__init__()
        self.owners = iter([self] * 1000)

    def get_control(self, *args):
        return Seeing.get_control(next(self.owners), *args)


class HidesAnother(AroundAnother):
    """Keeps another control where a copy cannot put its own."""

    def __init__(self):
        super().__init__()
        self.inner = Slotted(self.inner[0])

    def get_control(self, *args):
        return self.inner.owner.get_control(*args)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Generated, "Made keeps itself in 'get_control'"),
        (Iterated, "Iterated keeps itself in 'owners'"),
        (HidesAnother, "HidesAnother keeps a Seeing in 'inner'"),
    ],
)
def test_nor_what_is_in_places_that_are_not_attributes(make, words, windowed, with_control, models, small):
    with pytest.raises(ValueError, match=words):
        windowed("sampler", models["eps"], with_control(make()), small.conditioning(2))


@pytest.mark.parametrize("name", ["mask_cond_hint_original", "depth_image", "state"])
def test_a_picture_of_the_canvas_under_another_name_is_refused(name, windowed, with_control, models, small):
    control = Seeing()
    setattr(control, name, torch.rand(1, 1, 64, 192))
    with pytest.raises(ValueError, match=f"the ControlNet Seeing keeps a picture of the canvas in '{name}'"):
        windowed("sampler", models["eps"], with_control(control), small.conditioning(2))


class Injected(ControlNet):
    """The host's own ControlNet with a bound method, as a guided run meets it."""

    def __init__(self, control):
        vars(self).update(vars(control))
        self.base = super()
        self.get_control = self.inject

    def inject(self, *args):
        return self.base.get_control(*args)


@pytest.mark.parametrize("gradient", ["through the model", "forward only"])
def test_a_guided_run_is_that_of_the_hosts_own_control(gradient, small, panorama, windows, models, guidance):
    plain = small.control_net().set_cond_hint(RAMP, 1.0)
    results = [
        panorama(
            models["eps"],
            windows(64, 32),
            steps=2,
            guidance=guidance(weight=500.0, end_percent=1.0, gradient=gradient),
            positive=small.conditioning(1, control=control, control_apply_to_uncond=True),
        )
        for control in (plain, Injected(plain))
    ]
    assert torch.equal(results[0][0]["samples"], results[1][0]["samples"])
    assert results[0][1] == results[1][1]


class OwnNetwork(ControlBase):
    """A control whose network the pack does not know, with inference weights as loaders leave them."""

    def __init__(self):
        super().__init__()
        with torch.inference_mode():
            self.net = torch.nn.Conv2d(4, 32, 1)
        self.set_cond_hint(RAMP)

    def get_control(self, x, t, cond, batched, options):
        return {"input": [], "middle": [], "output": [self.net(x)]}


def test_a_network_that_cannot_be_differentiated_is_said(small, panorama, windows, models, guidance, host):
    panorama(
        models["eps"],
        windows(64, 32),
        steps=2,
        guidance=guidance(weight=500.0, end_percent=1.0, gradient="through the model"),
        positive=small.conditioning(1, control=OwnNetwork(), control_apply_to_uncond=True),
    )
    said = "\n".join(str(data) for _, data in host.server.events)
    assert "forward only, because the model has no backward pass here: a node of another pack" in said
