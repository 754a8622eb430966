"""The comparisons must see what they are there for: a test that passes for any answer tests nothing."""

import contextlib
import io
import unittest

import torch

import compare
from compare import Report, Tensors
from parity_test import check_gradients, check_logits

EXPECTED = {"logits.0": torch.tensor([[1.0, -8.0], [2.0, 0.5]]), "loss.0": torch.tensor(3.0)}
GRADIENTS = {"a": torch.tensor([3.0, 4.0]), "tiny": torch.tensor([1e-7, 0.0]),
             "loss": torch.tensor(2.0), "aux": torch.tensor(0.0)}


def failures(check, found: Tensors, expected: Tensors) -> int:
    report = Report()
    with contextlib.redirect_stdout(io.StringIO()):
        check(report, "case", found, expected)
    return report.failed


class Comparisons(unittest.TestCase):
    def logits(self, **changed: torch.Tensor) -> int:
        found = EXPECTED | {name.replace("_", "."): tensor for name, tensor in changed.items()}
        return failures(check_logits, found, EXPECTED)

    def gradients(self, **changed: torch.Tensor) -> int:
        return failures(check_gradients, GRADIENTS | changed, GRADIENTS)

    def test_equal_values_pass(self) -> None:
        self.assertEqual((self.logits(), self.gradients()), (0, 0))

    def test_logits_are_held_to_their_tolerance(self) -> None:
        off = torch.tensor([[0.0, 0.0], [8e-5, 0.0]])
        self.assertEqual(self.logits(logits_0=EXPECTED["logits.0"] + 0.9 * off), 0)
        self.assertEqual(self.logits(logits_0=EXPECTED["logits.0"] + 1.1 * off), 1)
        self.assertEqual(self.logits(logits_0=EXPECTED["logits.0"] * torch.nan), 1)

    def test_losses_are_held_to_their_tolerance(self) -> None:
        self.assertEqual(self.logits(loss_0=torch.tensor(3.0 * (1 + 0.8e-6))), 0)
        self.assertEqual(self.logits(loss_0=torch.tensor(3.0 * (1 + 1.3e-6))), 1)
        self.assertEqual(self.logits(loss_0=torch.tensor(torch.nan)), 1)
        self.assertEqual(self.gradients(loss=torch.tensor(2.0 * (1 + 1.3e-6))), 1)
        self.assertEqual(self.gradients(aux=torch.tensor(1e-9)), 1)  # without experts exactly 0

    def test_gradients_are_held_to_their_tolerance(self) -> None:
        self.assertEqual(self.gradients(a=torch.tensor([3.0, 4.0 + 4.5e-4])), 0)
        self.assertEqual(self.gradients(a=torch.tensor([3.0, 4.0 + 5.5e-4])), 1)
        self.assertEqual(self.gradients(tiny=torch.tensor([1.9e-7, 0.0])), 0)
        self.assertEqual(self.gradients(tiny=torch.tensor([2.2e-7, 0.0])), 1)
        self.assertEqual(self.gradients(a=torch.full((2,), torch.nan)), 1)

    def test_names_shapes_and_dtypes_must_be_the_same(self) -> None:
        self.assertEqual(self.logits(extra=torch.zeros(1)), 1)
        self.assertEqual(self.logits(loss_0=torch.tensor(3.0, dtype=torch.float64)), 1)
        self.assertEqual(self.gradients(a=torch.tensor([[3.0, 4.0]])), 1)
        without = {name: tensor for name, tensor in GRADIENTS.items() if name != "tiny"}
        self.assertEqual(failures(check_gradients, without, GRADIENTS), 1)

    def test_one_bit_is_a_difference(self) -> None:
        self.assertFalse(compare.same_bits(torch.tensor([0.0]), torch.tensor([-0.0])))
        self.assertTrue(compare.same_bits(torch.tensor([torch.nan]), torch.tensor([torch.nan])))

    def test_nothing_compared_is_a_failure(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(Report().finish(), 1)


if __name__ == "__main__":
    unittest.main()
