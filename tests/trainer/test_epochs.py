import numpy as np
import tensorflow as tf

from trainer.epochs import time_ordered_batches, train_epochs


def run(metric_by_epoch, patience):
    variable, epochs = tf.Variable(-1.0), []

    def run_epoch(epoch):
        epochs.append(epoch)
        variable.assign(float(epoch))
        return 0.5

    values = iter(metric_by_epoch)
    best = train_epochs(run_epoch, lambda: next(values), [variable], len(metric_by_epoch), patience, "recall@100")
    return best, float(variable.numpy()), len(epochs)


def test_training_stops_when_the_metric_has_not_risen_and_goes_back_to_the_best_epoch():
    assert run([0.1, 0.3, 0.2, 0.25, 0.9], patience=2) == (0.3, 1.0, 4)


def test_training_goes_on_while_patience_lasts():
    assert run([0.1, 0.3, 0.2, 0.25, 0.9], patience=3) == (0.9, 4.0, 5)


def test_an_epoch_is_one_line_of_progress(capsys):
    run([0.1234], patience=1)
    assert "recloop> epoch 1: loss 0.5000, validation recall@100 0.1234, " in capsys.readouterr().out


def test_batches_hold_rows_of_one_stretch_of_time():
    batches = list(time_ordered_batches(24, 4, 2, np.random.default_rng(0)))
    assert sorted(np.concatenate(batches).tolist()) == list(range(24))
    assert all(batch.max() // 8 == batch.min() // 8 for batch in batches)
    assert any(batch.tolist() != sorted(batch.tolist()) for batch in batches)


def test_too_few_rows_make_one_batch():
    assert [len(batch) for batch in time_ordered_batches(3, 4, 2, np.random.default_rng(0))] == [3]
